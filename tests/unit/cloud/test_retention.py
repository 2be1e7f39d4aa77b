"""How long things are kept: which time counts, and what a clock that jumped must not do."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.households.retention import (
    DAY_MS,
    HOLD_S,
    LONGEST_GAP_MS,
    MAX_DAYS,
    MIN_DAYS,
    Watch,
    counted_from,
    is_over,
    oldest_kept,
)
from tests.people import NOW_MS

HOUR_MS = 3600 * 1000

times = st.integers(0, 2 * NOW_MS)
days = st.integers(MIN_DAYS, MAX_DAYS)


@given(happened=times, taken=times, clock_synced=st.booleans())
def test_no_doorbells_clock_keeps_anything_for_longer(
    happened: int,
    taken: int,
    *,
    clock_synced: bool,
) -> None:
    assert counted_from(happened, taken, clock_synced=clock_synced) <= taken


@given(times, times)
def test_a_clock_that_nobody_set_costs_nothing_and_counts_for_nothing(
    happened: int, taken: int
) -> None:
    assert counted_from(happened, taken, clock_synced=False) == taken


@given(times, st.integers(0, 1000 * DAY_MS))
def test_a_backlog_is_as_old_as_what_it_shows(happened: int, late_ms: int) -> None:
    assert counted_from(happened, happened + late_ms, clock_synced=True) == happened


@given(times, st.integers(1, 1000 * DAY_MS))
def test_a_future_that_cannot_be_is_not_believed(taken: int, ahead_ms: int) -> None:
    assert counted_from(taken + ahead_ms, taken, clock_synced=True) == taken


@given(times, days)
def test_a_day_is_over_at_its_very_millisecond(kept_from: int, kept_days: int) -> None:
    end = kept_from + kept_days * DAY_MS
    assert is_over(kept_from, end, kept_days)
    assert not is_over(kept_from, end - 1, kept_days)
    assert oldest_kept(end, kept_days) == kept_from


@given(times, times, days)
def test_what_is_over_stays_over_and_fewer_days_keep_less(
    kept_from: int, now: int, kept_days: int
) -> None:
    if is_over(kept_from, now, kept_days):
        assert is_over(kept_from, now + 1, kept_days)
        assert all(is_over(kept_from, now, fewer) for fewer in range(MIN_DAYS, kept_days))


def test_a_clock_is_believed_from_the_start() -> None:
    assert Watch().is_believed
    assert Watch().look(None, NOW_MS, 0.0).is_believed


@given(st.integers(-1000 * DAY_MS, LONGEST_GAP_MS), st.floats(0, 1e9))
def test_short_gaps_and_a_clock_set_back_are_believed(gap_ms: int, monotonic_s: float) -> None:
    assert Watch().look(NOW_MS, NOW_MS + gap_ms, monotonic_s).is_believed


@given(
    st.integers(LONGEST_GAP_MS + 1, 1000 * DAY_MS),
    st.lists(st.floats(0, HOLD_S - 1), max_size=20),
    st.floats(0, 1e9),
)
def test_after_a_jump_nothing_goes_for_a_day_of_monotonic_time(
    gap_ms: int, looks: list[float], began_s: float
) -> None:
    watch = Watch().look(NOW_MS, NOW_MS + gap_ms, began_s)
    for passed_s in sorted(looks):
        watch = watch.look(NOW_MS, NOW_MS + gap_ms + round(passed_s * 1000), began_s + passed_s)
        assert not watch.is_believed
    assert watch.look(NOW_MS, NOW_MS + gap_ms, began_s + HOLD_S + 1).is_believed


@given(st.floats(1, HOLD_S - 1), st.integers(LONGEST_GAP_MS + HOUR_MS, 1000 * DAY_MS))
def test_a_clock_that_jumps_while_it_is_doubted_has_its_own_day(
    passed_s: float, jump_ms: int
) -> None:
    off_ms = 3 * DAY_MS
    watch = Watch().look(NOW_MS, NOW_MS + off_ms, 0.0)
    jumped_ms = NOW_MS + off_ms + round(passed_s * 1000) + jump_ms
    watch = watch.look(NOW_MS, jumped_ms, passed_s)
    assert not watch.look(NOW_MS, jumped_ms + HOUR_MS, HOLD_S).is_believed
    assert watch.look(NOW_MS, jumped_ms + DAY_MS, passed_s + HOLD_S + 1).is_believed


def test_a_clock_that_jumps_as_the_hold_ends_is_not_believed() -> None:
    watch = Watch().look(NOW_MS, NOW_MS + 3 * DAY_MS, 0.0)
    waited = watch.look(NOW_MS, NOW_MS + 4 * DAY_MS, HOLD_S)
    assert waited.is_believed
    assert not waited.look(NOW_MS, NOW_MS + 3650 * DAY_MS, HOLD_S + 1).is_believed


def test_a_clock_that_comes_back_is_believed_at_once_and_the_next_jump_waits_its_whole_day() -> (
    None
):
    jumped = Watch().look(NOW_MS, NOW_MS + 400 * DAY_MS, 0.0)
    assert not jumped.is_believed
    back = jumped.look(NOW_MS, NOW_MS + 1000, HOLD_S / 2)
    assert back.is_believed
    again = back.look(NOW_MS, NOW_MS + 400 * DAY_MS, HOLD_S)
    assert not again.look(NOW_MS, NOW_MS + 400 * DAY_MS, 2 * HOLD_S - 1).is_believed
