"""A camera's own stamps become times on the doorbell's clock."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.timeline import WINDOW_US, Timeline

STEP_US = 66_667
# The camera was switched on long before the doorbell.
HERS, OURS = 900_000_000_000, 5_000_000


def times(line: Timeline, pictures: list[tuple[int | None, int]]) -> list[int]:
    found = []
    for stamp_us, now_us in pictures:
        line, at_us = line.feed(stamp_us, now_us)
        found.append(at_us)
    return found


def begun() -> Timeline:
    return Timeline.begin([(HERS, OURS)], STEP_US)


def test_pictures_that_come_in_a_bunch_keep_their_distances() -> None:
    bunch = [(HERS + i * STEP_US, OURS + 700_000) for i in range(10)]
    found = times(Timeline.begin(bunch, STEP_US), [(s, now) for s, now in bunch])
    assert found[-1] == OURS + 700_000
    assert {b - a for a, b in itertools.pairwise(found)} == {STEP_US}


def test_a_picture_that_comes_late_has_the_time_at_which_it_was_taken() -> None:
    found = times(begun(), [(HERS, OURS), (HERS + STEP_US, OURS + 900_000)])
    assert found == [OURS, OURS + STEP_US]


def test_a_picture_from_the_future_sets_the_clocks_anew() -> None:
    hour_us = 3_600_000_000
    pictures: list[tuple[int | None, int]] = [
        (HERS, OURS),
        (HERS + hour_us, OURS + STEP_US),
        (HERS + hour_us + STEP_US, OURS + 2 * STEP_US),
    ]
    assert times(begun(), pictures) == [OURS, OURS + STEP_US, OURS + 2 * STEP_US]


def test_stamps_that_begin_anew_set_the_clocks_anew() -> None:
    pictures: list[tuple[int | None, int]] = [(HERS, OURS), (0, OURS + STEP_US)]
    assert times(begun(), pictures) == [OURS, OURS + STEP_US]


def test_a_pause_of_the_camera_is_a_pause() -> None:
    pause_us = 3_000_000
    pictures: list[tuple[int | None, int]] = [(HERS, OURS), (HERS + pause_us, OURS + pause_us)]
    assert times(begun(), pictures) == [OURS, OURS + pause_us]


def test_a_missing_stamp_is_guessed() -> None:
    pictures: list[tuple[int | None, int]] = [(None, OURS), (None, OURS + 80_000)]
    assert times(begun(), pictures) == [OURS, OURS + STEP_US]


def test_a_camera_that_runs_slow_is_followed() -> None:
    """Ten seconds of hers take us eleven; never is a picture more than a window's drift late."""
    pictures: list[tuple[int | None, int]] = [
        (HERS + i * 100_000, OURS + i * 110_000) for i in range(600)
    ]
    late = [now - at for (_, now), at in zip(pictures, times(begun(), pictures), strict=True)]
    assert max(late) <= 2 * WINDOW_US // 10
    assert min(late) >= 0


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(-(10**12), 10**12), st.integers(min_value=0, max_value=10**7)
        ),
        min_size=1,
        max_size=50,
    )
)
def test_whatever_a_camera_says_times_rise_and_are_never_in_the_future_for_long(
    told: list[tuple[int | None, int]],
) -> None:
    now_us, pictures = OURS, []
    for stamp_us, passed_us in told:
        now_us += passed_us
        pictures.append((stamp_us, now_us))
    found = times(begun(), pictures)
    assert all(a < b for a, b in itertools.pairwise(found))
    # Pictures that come at the same instant are a microsecond apart.
    assert all(at <= now + len(found) for (_, now), at in zip(pictures, found, strict=True))
