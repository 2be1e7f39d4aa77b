"""What the doorbell gives up first."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.eviction import (
    CACHE_MS,
    KeptClip,
    Worth,
    decide_dropped_events,
    decide_evictions,
    is_cache_over,
)
from doorstep_shared.ids import ClipId, EventId
from doorstep_shared.manifest import ClipKind


def clip(seq: int, worth: Worth, size_bytes: int = 10) -> KeptClip:
    return KeptClip(ClipId(f"{worth.name.lower()}-{seq}"), worth, seq, size_bytes)


KEPT = (
    clip(1, Worth.RING),
    clip(2, Worth.MOTION),
    clip(3, Worth.STORED),
    clip(5, Worth.MOTION),
    clip(6, Worth.STORED),
)


def test_stored_clips_go_first_then_the_oldest_motion_and_rings_last() -> None:
    order = ("stored-3", "stored-6", "motion-2", "motion-5", "ring-1")
    assert decide_evictions(KEPT, 60) == order


def test_no_more_goes_than_is_needed() -> None:
    assert decide_evictions(KEPT, 11) == ("stored-3", "stored-6")
    assert decide_evictions(KEPT, 0) == ()
    assert decide_evictions(KEPT, -5) == ()


def test_what_is_spared_stays_even_if_the_room_is_not_enough() -> None:
    assert "ring-1" not in decide_evictions(KEPT, 1000, sparing=Worth.RING)
    assert len(decide_evictions(KEPT, 1000, sparing=Worth.RING)) == 4


kept_clips = st.lists(
    st.builds(clip, st.integers(1, 99), st.sampled_from(Worth), st.integers(1, 50)),
    unique_by=lambda kept: kept.seq,
)


@given(kept_clips, st.integers(0, 500))
def test_what_stays_is_worth_at_least_as_much_as_what_goes(
    kept: list[KeptClip], excess_bytes: int
) -> None:
    gone = set(decide_evictions(kept, excess_bytes))
    goes = [each for each in kept if each.clip in gone]
    stays = [each for each in kept if each.clip not in gone]
    freed = sum(each.size_bytes for each in goes)
    assert freed >= excess_bytes or not stays
    for one in goes:
        assert all((one.worth, one.seq) < (other.worth, other.seq) for other in stays)
        assert freed - max(each.size_bytes for each in goes) < excess_bytes


def test_motion_events_go_before_rings_and_old_ones_before_new() -> None:
    waiting = [
        (EventId("ring-old"), ClipKind.RING),
        (EventId("motion-old"), ClipKind.MOTION),
        (EventId("ring-new"), ClipKind.RING),
        (EventId("motion-new"), ClipKind.MOTION),
    ]
    assert decide_dropped_events(waiting, most=4) == ()
    assert decide_dropped_events(waiting, most=3) == ("motion-old",)
    assert decide_dropped_events(waiting, most=1) == ("motion-old", "motion-new", "ring-old")


def test_a_cached_clip_stays_for_a_day_whatever_the_clock_does() -> None:
    assert not is_cache_over(CACHE_MS, 2 * CACHE_MS - 1)
    assert is_cache_over(CACHE_MS, 2 * CACHE_MS)
    assert not is_cache_over(CACHE_MS, CACHE_MS - 5000)
    assert is_cache_over(2 * CACHE_MS, CACHE_MS)
