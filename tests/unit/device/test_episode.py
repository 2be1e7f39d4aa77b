"""When a clip begins, goes on, is split and ends."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.episode import TRANSITIONS, Episode, Part, PartLimits, Phase, Signal
from doorstep_shared.ids import EventId
from doorstep_shared.manifest import MAX_EVENTS, ClipKind

RULE = Episode(post_roll_us=8, longest_us=100)


def after(*signals: tuple[Signal, int]) -> Episode:
    episode = RULE
    for signal, at_us in signals:
        episode = episode.feed(signal, at_us)
    return episode


def test_the_table_has_an_answer_for_everything() -> None:
    assert set(TRANSITIONS) == set(product(Phase, Signal))


def test_a_ring_is_recorded_until_the_post_roll_is_over() -> None:
    episode = after((Signal.RING, 10))
    assert episode.is_under_way
    assert not episode.is_time_up(17)
    assert episode.is_time_up(18)
    assert not episode.feed(Signal.TIME_UP, 18).is_under_way


def test_motion_is_recorded_until_the_post_roll_after_its_end() -> None:
    moving = after((Signal.MOTION_BEGAN, 10))
    assert not moving.is_time_up(50)
    still = moving.feed(Signal.MOTION_ENDED, 50)
    assert not still.is_time_up(57)
    assert still.is_time_up(58)


def test_motion_again_within_the_post_roll_goes_on() -> None:
    episode = after((Signal.MOTION_BEGAN, 10), (Signal.MOTION_ENDED, 20), (Signal.MOTION_BEGAN, 25))
    assert episode.phase is Phase.MOTION
    assert not episode.is_time_up(90)


def test_a_ring_while_nothing_moves_any_more_holds_the_clip_open() -> None:
    episode = after((Signal.MOTION_BEGAN, 10), (Signal.MOTION_ENDED, 20), (Signal.RING, 26))
    assert not episode.is_time_up(33)
    assert episode.is_time_up(34)


def test_a_ring_while_something_moves_outlasts_a_motion_that_ends_at_once() -> None:
    episode = after((Signal.MOTION_BEGAN, 10), (Signal.RING, 19), (Signal.MOTION_ENDED, 15))
    assert not episode.is_time_up(26)
    assert episode.is_time_up(27)


def test_endless_motion_ends_at_the_cap_and_begins_nothing_by_itself() -> None:
    episode = after((Signal.MOTION_BEGAN, 10))
    assert not episode.is_time_up(109)
    assert episode.is_time_up(110)
    ended = episode.feed(Signal.TIME_UP, 110)
    assert not ended.feed(Signal.MOTION_ENDED, 200).is_under_way


def test_a_ring_moves_the_cap() -> None:
    assert not after((Signal.MOTION_BEGAN, 10), (Signal.RING, 60)).is_time_up(159)


def test_motion_within_a_ring_clip_does_not_move_the_cap() -> None:
    signals = [(Signal.RING, 10), *((Signal.MOTION_BEGAN, at_us) for at_us in range(11, 110))]
    assert after(*signals).is_time_up(110)


@given(st.lists(st.tuples(st.sampled_from(Signal), st.integers(0, 20))))
def test_whatever_happens_a_clip_ends_in_the_end(steps: list[tuple[Signal, int]]) -> None:
    episode, at_us = RULE, 0
    for signal, gap in steps:
        at_us += gap
        if signal is not Signal.TIME_UP or episode.is_time_up(at_us):
            episode = episode.feed(signal, at_us)
        assert episode.is_under_way == (episode.is_time_up(at_us + RULE.longest_us))


EVENTS = [EventId(f"event-{number}") for number in range(100)]


def test_a_ring_makes_it_a_ring_clip_and_motion_does_not_unmake_it() -> None:
    part = Part(ClipKind.MOTION, (EVENTS[0],)).join(ClipKind.MOTION, EVENTS[1])
    assert part.kind is ClipKind.MOTION
    part = part.join(ClipKind.RING, EVENTS[2]).join(ClipKind.MOTION, EVENTS[3])
    assert part.kind is ClipKind.RING
    assert part.events == tuple(EVENTS[:4])


LIMITS = PartLimits(longest_us=120, max_bytes=24, hard_bytes=30)


@pytest.mark.parametrize(
    ("length_us", "size_bytes", "at_key_frame", "is_over"),
    [
        (119, 23, True, False),
        (120, 0, True, True),
        (0, 24, True, True),
        (500, 29, False, False),
        (0, 30, False, True),
    ],
)
def test_a_part_ends_at_a_key_frame_when_it_is_full(
    length_us: int, size_bytes: int, *, at_key_frame: bool, is_over: bool
) -> None:
    part = Part(ClipKind.MOTION, (EVENTS[0],))
    decided = part.is_over(
        LIMITS, length_us=length_us, size_bytes=size_bytes, at_key_frame=at_key_frame
    )
    assert decided == is_over


def test_an_event_too_many_opens_the_next_part() -> None:
    part = Part(ClipKind.MOTION, (EVENTS[0],))
    for event in EVENTS[1:34]:
        part = part.join(ClipKind.RING if event == EVENTS[33] else ClipKind.MOTION, event)
    assert part.events == tuple(EVENTS[:MAX_EVENTS])
    assert part.is_over(LIMITS, length_us=0, size_bytes=0, at_key_frame=True)
    following = part.next()
    assert following.number == 2
    assert following.events == (EVENTS[0], EVENTS[32], EVENTS[33])
    assert following.kind is ClipKind.RING
    assert following.waiting == ()


def test_an_event_that_comes_again_is_listed_once() -> None:
    part = Part(ClipKind.MOTION, (EVENTS[0],))
    for event in EVENTS[:40]:
        part = part.join(ClipKind.MOTION, event)
    again = part.join(ClipKind.MOTION, EVENTS[0]).join(ClipKind.MOTION, EVENTS[35])
    assert again == part


def test_a_part_never_lists_more_events_than_a_manifest_may() -> None:
    part = Part(ClipKind.MOTION, (EVENTS[0],))
    for event in EVENTS[1:]:
        part = part.join(ClipKind.MOTION, event)
    assert len(part.events) == len(part.next().events) == MAX_EVENTS
