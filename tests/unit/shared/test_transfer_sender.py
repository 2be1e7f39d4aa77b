"""The doorbell's side of a transfer, message by message."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ObjectName, PayloadFacts
from doorstep_shared.transfer.messages import (
    CHUNK_BYTES,
    MAX_WINDOW,
    MIN_CHUNK_BYTES,
    Code,
    Reason,
    Reply,
    Subject,
)
from doorstep_shared.transfer.ranges import NOTHING, Ranges
from doorstep_shared.transfer.sender import (
    MAX_PAUSE_US,
    PAUSE_US,
    QUICK_RETRIES,
    SENDER_TRANSITIONS,
    WATCHDOG_US,
    Announce,
    Finished,
    GaveUp,
    SendAbort,
    Sender,
    SenderActions,
    SenderCause,
    SenderState,
    SendFin,
    SendInit,
    SendSegment,
)
from doorstep_shared.transfer.window import START

CLIP = ClipId("0190a0b0-0000-7000-8000-000000000000")
C = CHUNK_BYTES
MS = 1000
ALL_REFUSALS = [Code.NEVER, Code.NOT_ALLOWED, Code.MALFORMED]


def facts(length: int) -> PayloadFacts:
    return PayloadFacts(length=length, sha256=bytes(32))


def reply(subject: Subject, code: Code = Code.OK, have: Ranges = NOTHING) -> Reply:
    return Reply(
        clip=CLIP, object=ObjectName.FILE, subject=subject, code=code, have=have, credit=MAX_WINDOW
    )


def on_segment(number: int, code: Code = Code.OK, have: Ranges = NOTHING) -> Reply:
    return replace(reply(Subject.OFFSET, code, have), offset=number * C)


def first(count: int) -> Ranges:
    return Ranges(((0, count * C),))


def offsets(actions: SenderActions) -> list[int]:
    return [action.offset // C for action in actions if isinstance(action, SendSegment)]


def connected(segments: int) -> Sender:
    sender = Sender(facts(segments * C))
    assert sender.connected(0) == (SendInit(C),)
    return sender


def sending(segments: int, credit: int = MAX_WINDOW) -> Sender:
    sender = connected(segments)
    sender.replied(replace(reply(Subject.INIT), credit=credit), 0)
    assert sender.state is SenderState.SENDING
    return sender


def finishing(segments: int = 1) -> Sender:
    sender = connected(segments)
    assert sender.replied(reply(Subject.INIT, have=first(segments)), 0) == (SendFin(),)
    assert sender.state is SenderState.FIN
    return sender


def paused() -> Sender:
    sender = connected(1)
    sender.replied(reply(Subject.INIT, Code.PAUSE), 0)
    assert sender.state is SenderState.PAUSED
    return sender


ONLINE = {
    "init": lambda: connected(8),
    "sending": lambda: sending(8),
    "fin": finishing,
    "paused": paused,
}


def test_an_object_waits_for_a_connection() -> None:
    sender = Sender(facts(1))

    assert sender.state is SenderState.QUEUED
    assert sender.wake_us is None
    assert sender.tick(10**12) == ()


def test_a_small_object_travels_in_one_segment() -> None:
    sender = Sender(facts(10))

    assert sender.connected(0) == (SendInit(C),)
    assert sender.replied(reply(Subject.INIT), 0) == (SendSegment(0, 10),)
    assert sender.replied(on_segment(0, have=Ranges(((0, 10),))), 0) == (SendFin(),)
    assert sender.replied(reply(Subject.FIN), 0) == (Finished(),)
    assert sender.state is SenderState.DONE
    assert sender.wake_us is None


def test_a_second_connected_is_no_second_init() -> None:
    assert connected(1).connected(0) == ()


def test_the_first_window_is_four_segments_and_an_answer_makes_room_for_two() -> None:
    sender = connected(20)

    assert offsets(sender.replied(reply(Subject.INIT), 0)) == [0, 1, 2, 3]
    assert offsets(sender.replied(on_segment(0, have=first(1)), 50 * MS)) == [4, 5]
    assert sender.in_flight_bytes == 5 * C


def test_the_last_segment_is_as_long_as_what_is_left() -> None:
    sender = Sender(facts(C + 5))
    sender.connected(0)

    assert sender.replied(reply(Subject.INIT), 0) == (SendSegment(0, C), SendSegment(C, 5))
    assert sender.in_flight_bytes == C + 5


def test_credit_bounds_what_is_on_the_way() -> None:
    sender = connected(20)

    assert offsets(sender.replied(replace(reply(Subject.INIT), credit=2), 0)) == [0, 1]


def test_without_credit_nothing_is_sent_until_the_watchdog_asks_again() -> None:
    sender = sending(3, credit=0)

    assert sender.in_flight_bytes == 0
    assert sender.tick(WATCHDOG_US) == (SendInit(C),)


def test_the_service_decides_the_segment_size() -> None:
    sender = Sender(facts(3 * MIN_CHUNK_BYTES))
    sender.connected(0)
    granted = replace(reply(Subject.INIT), chunk=MIN_CHUNK_BYTES)

    actions = sender.replied(granted, 0)

    assert actions == tuple(SendSegment(n * MIN_CHUNK_BYTES, MIN_CHUNK_BYTES) for n in range(3))


def test_only_what_is_missing_is_sent() -> None:
    sender = connected(6)
    held = Ranges(((0, 2 * C), (3 * C, 5 * C)))

    assert offsets(sender.replied(reply(Subject.INIT, have=held), 0)) == [2, 5]


def test_one_answer_may_speak_for_several_segments() -> None:
    sender = sending(8)

    assert offsets(sender.replied(on_segment(3, have=first(4)), 0)) == [4, 5, 6, 7]


def test_progress_is_told_in_bytes() -> None:
    sender = sending(8)
    sender.replied(on_segment(0, have=first(1)), 0)

    assert sender.arrived_bytes == C


def test_a_late_or_repeated_answer_changes_nothing() -> None:
    sender = sending(8)
    answer = on_segment(0, have=first(1))
    sender.replied(answer, 0)

    assert sender.replied(answer, 0) == ()
    assert sender.replied(on_segment(0, Code.AGAIN), 0) == ()
    assert sender.replied(reply(Subject.INIT), 0) == ()
    assert sender.replied(reply(Subject.FIN, Code.MISSING), 0) == ()
    assert sender.replied(reply(Subject.ABORT), 0) == ()
    assert sender.replied(reply(Subject.OFFSET), 0) == ()
    assert sender.state is SenderState.SENDING


def test_a_segment_asked_for_again_is_sent_again() -> None:
    sender = sending(8)

    assert offsets(sender.replied(on_segment(2, Code.AGAIN), 0)) == [2]


def test_a_segment_asked_for_again_and_again_is_followed_by_a_pause() -> None:
    sender = sending(8)
    for _ in range(QUICK_RETRIES):
        assert offsets(sender.replied(on_segment(2, Code.AGAIN), 0)) == [2]

    assert sender.replied(on_segment(2, Code.AGAIN), 0) == ()
    assert sender.state is SenderState.PAUSED


def test_progress_ends_a_row_of_setbacks() -> None:
    sender = sending(8)
    for _ in range(QUICK_RETRIES):
        sender.replied(on_segment(2, Code.AGAIN), 0)
    assert sender.setbacks == QUICK_RETRIES

    sender.replied(on_segment(0, have=first(1)), 0)

    assert sender.setbacks == 0
    assert offsets(sender.replied(on_segment(2, Code.AGAIN), 0)) == [2]


def test_a_receiver_that_lost_its_memory_is_asked_what_it_holds() -> None:
    sender = sending(8)

    assert sender.replied(on_segment(0, Code.MISSING), 0) == (SendInit(C),)
    assert sender.in_flight_bytes == 0
    assert sender.replied(on_segment(1, Code.MISSING), 0) == ()
    assert offsets(sender.replied(reply(Subject.INIT, have=first(2)), 0)) == [2, 3, 4, 5]


@pytest.mark.parametrize("code", ALL_REFUSALS)
def test_a_refused_segment_is_confirmed_by_an_init(code: Code) -> None:
    sender = sending(8)

    assert sender.replied(on_segment(0, code), 0) == (SendInit(C),)


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("subject", [Subject.INIT, Subject.FIN])
@pytest.mark.parametrize("code", ALL_REFUSALS)
def test_a_refused_object_is_given_up(name: str, subject: Subject, code: Code) -> None:
    sender = ONLINE[name]()
    refusal = replace(reply(subject, code), reason=Reason.QUARANTINED)

    assert sender.replied(refusal, 0) == (GaveUp(code, "quarantined"),)
    assert sender.state is SenderState.CANCELLED
    assert sender.wake_us is None


@pytest.mark.parametrize("name", ONLINE)
def test_stored_is_stored_whenever_it_is_heard(name: str) -> None:
    sender = ONLINE[name]()

    assert sender.replied(reply(Subject.FIN), 0) == (Finished(),)
    assert sender.state is SenderState.DONE


@pytest.mark.parametrize("name", ONLINE)
def test_a_lost_connection_means_to_ask_again(name: str) -> None:
    sender = ONLINE[name]()

    assert sender.disconnected() == ()
    assert sender.state is SenderState.QUEUED
    assert (sender.in_flight_bytes, sender.wake_us) == (0, None)
    assert sender.replied(reply(Subject.FIN), 0) == ()
    assert sender.connected(7) == (SendInit(C),)


@pytest.mark.parametrize("name", ONLINE)
def test_cancelling_tells_the_service(name: str) -> None:
    sender = ONLINE[name]()

    assert sender.cancel() == (SendAbort(),)
    assert sender.state is SenderState.CANCELLED
    assert sender.cancel() == ()


def test_cancelling_without_a_connection_tells_nobody() -> None:
    sender = Sender(facts(1))

    assert sender.cancel() == ()
    assert sender.state is SenderState.CANCELLED
    assert sender.connected(0) == ()
    assert sender.disconnected() == ()
    assert sender.state is SenderState.CANCELLED


def test_an_unknown_clip_is_announced_again() -> None:
    sender = connected(1)
    unknown = replace(
        reply(Subject.INIT, Code.PAUSE), reason=Reason.CLIP_UNKNOWN, retry_after_ms=200
    )

    assert sender.replied(unknown, 1000) == (Announce(),)
    assert sender.wake_us == 1000 + 200 * MS
    assert sender.tick(1000 + 200 * MS - 1) == ()
    assert sender.tick(1000 + 200 * MS) == (SendInit(C),)


@pytest.mark.parametrize(
    ("name", "subject"),
    [("init", Subject.INIT), ("sending", Subject.OFFSET), ("fin", Subject.FIN)],
)
@pytest.mark.parametrize("code", [Code.PAUSE, Code.AGAIN])
def test_a_pause_is_as_long_as_the_service_says(name: str, subject: Subject, code: Code) -> None:
    sender = ONLINE[name]()
    told = replace(reply(subject, code), retry_after_ms=7000)
    if subject is Subject.OFFSET:
        told = replace(told, offset=0)

    assert sender.replied(told, 5) == ()
    assert sender.state is SenderState.PAUSED
    assert sender.in_flight_bytes == 0
    assert sender.wake_us == 5 + 7000 * MS


def test_what_is_heard_during_a_pause_does_not_shorten_it() -> None:
    sender = paused()
    until = sender.wake_us

    assert sender.replied(reply(Subject.INIT), 10) == ()
    assert (sender.state, sender.wake_us) == (SenderState.PAUSED, until)


def test_a_pause_without_a_time_grows_from_a_second_to_a_minute() -> None:
    sender = connected(1)
    pauses: list[int] = []
    for _ in range(9):
        sender.replied(reply(Subject.INIT, Code.PAUSE), 0)
        assert sender.wake_us is not None
        pauses.append(sender.wake_us // PAUSE_US)
        assert sender.tick(sender.wake_us) == (SendInit(C),)

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert MAX_PAUSE_US == 60 * PAUSE_US


def test_a_fin_that_finds_bytes_missing_asks_which() -> None:
    sender = finishing(3)

    assert sender.replied(reply(Subject.FIN, Code.MISSING), 0) == (SendInit(C),)
    assert offsets(sender.replied(reply(Subject.INIT, have=first(2)), 0)) == [2]


def test_a_service_that_contradicts_itself_is_not_asked_in_a_hot_loop() -> None:
    sender = finishing()
    asked = 0
    while sender.replied(reply(Subject.FIN, Code.MISSING), 0) == (SendInit(C),):
        assert sender.replied(reply(Subject.INIT, have=first(1)), 0) == (SendFin(),)
        asked += 1

    assert asked == QUICK_RETRIES
    assert sender.state is SenderState.PAUSED


@pytest.mark.parametrize("name", ["init", "sending", "fin"])
def test_silence_for_five_seconds_is_asked_about(name: str) -> None:
    sender = ONLINE[name]()

    assert sender.tick(WATCHDOG_US - 1) == ()
    assert sender.tick(WATCHDOG_US) == (SendInit(C),)
    assert sender.in_flight_bytes == 0


@pytest.mark.parametrize("name", ["init", "sending", "fin"])
def test_any_answer_is_a_sign_of_life(name: str) -> None:
    sender = ONLINE[name]()

    sender.replied(reply(Subject.ABORT), WATCHDOG_US - 1)

    assert sender.tick(WATCHDOG_US) == ()
    assert sender.wake_us == 2 * WATCHDOG_US - 1


def test_the_watchdog_waits_longer_every_time_up_to_forty_seconds() -> None:
    sender = connected(1)
    now_us, waited = 0, []
    for _ in range(6):
        assert sender.wake_us is not None
        waited.append((sender.wake_us - now_us) // 1_000_000)
        now_us = sender.wake_us
        assert sender.tick(now_us) == (SendInit(C),)

    assert waited == [5, 10, 20, 40, 40, 40]


def test_on_a_slow_line_the_watchdog_waits_eight_round_trips() -> None:
    sender = sending(8)
    sender.replied(on_segment(0, have=first(1)), 2_000_000)
    assert sender.wake_us == 2_000_000 + 8 * 2_000_000

    sender.replied(on_segment(1, have=first(2)), 4_000_000)

    smoothed_us = (7 * 2_000_000 + 4_000_000) // 8
    assert sender.wake_us == 4_000_000 + 8 * smoothed_us


def test_the_delay_of_a_repeated_segment_teaches_nothing() -> None:
    sender = sending(1)
    sender.tick(WATCHDOG_US)
    sender.replied(reply(Subject.INIT), WATCHDOG_US)

    sender.replied(on_segment(0), WATCHDOG_US + 3_000_000)

    assert sender.wake_us == WATCHDOG_US + 3_000_000 + 2 * WATCHDOG_US


def test_segments_of_a_new_size_are_measured_afresh() -> None:
    sender = sending(1)
    sender.tick(WATCHDOG_US)
    granted = replace(reply(Subject.INIT), chunk=MIN_CHUNK_BYTES)
    sender.replied(granted, WATCHDOG_US)

    sender.replied(on_segment(0, have=Ranges(((0, MIN_CHUNK_BYTES),))), WATCHDOG_US + 3_000_000)

    assert sender.wake_us == WATCHDOG_US + 3_000_000 + 8 * 3_000_000


def test_late_answers_shrink_what_is_on_the_way() -> None:
    sender = sending(40)
    sender.replied(on_segment(0, have=first(1)), 50 * MS)
    before = sender.in_flight_bytes
    sender.replied(on_segment(1, have=first(2)), 900 * MS)

    assert sender.in_flight_bytes == before - C == START * C


def test_after_the_end_nothing_matters() -> None:
    sender = finishing()
    sender.replied(reply(Subject.FIN), 0)

    assert sender.replied(reply(Subject.INIT, Code.NEVER), 0) == ()
    assert sender.tick(10**12) == sender.connected(0) == sender.disconnected() == ()
    assert sender.cancel() == ()
    assert sender.state is SenderState.DONE


@given(st.lists(st.integers(0, 50), unique=True, min_size=50), st.integers(1, MAX_WINDOW))
def test_answers_in_any_order_send_every_segment_once(order: list[int], credit: int) -> None:
    sender = sending(50, credit)
    sent = list(range(min(START, credit)))
    held, now_us = NOTHING, 0
    while sender.state is SenderState.SENDING:
        on_the_way = [n for n in sent if not held.covers(n * C, (n + 1) * C)]
        number = min(on_the_way, key=lambda n: order.index(n) if n in order else -1)
        held = held.add(number * C, (number + 1) * C)
        now_us += 20 * MS
        actions = sender.replied(replace(on_segment(number, have=held), credit=credit), now_us)
        sent += offsets(actions)
        assert sender.in_flight_bytes <= credit * C

    assert sorted(sent) == list(range(50))
    assert sender.state is SenderState.FIN


def test_every_state_but_the_last_two_can_be_left_and_all_can_be_reached() -> None:
    left = {state for state, _ in SENDER_TRANSITIONS}
    reached = set(SENDER_TRANSITIONS.values()) | {SenderState.QUEUED}

    assert left == set(SenderState) - {SenderState.DONE, SenderState.CANCELLED}
    assert reached == set(SenderState)
    assert {cause for _, cause in SENDER_TRANSITIONS} == set(SenderCause)
