"""The service's side of a transfer, message by message, and against a hostile sender."""

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
    Init,
    Reason,
    Reply,
    Subject,
    decode_reply,
    encode_reply,
)
from doorstep_shared.transfer.ranges import NOTHING, Ranges
from doorstep_shared.transfer.receiver import (
    BUSY_RETRY_MS,
    IDLE_US,
    MAX_FAILURES,
    RECEIVER_TRANSITIONS,
    Discard,
    Quarantine,
    Receiver,
    ReceiverActions,
    ReceiverCause,
    ReceiverState,
    SendReceipt,
    Store,
    WriteSegment,
)
from doorstep_shared.transfer.spool import Spool, failed_record, read_journal, written_record

CLIP = ClipId("0190a0b0-0000-7000-8000-000000000000")
C = CHUNK_BYTES
LENGTH = 2 * C + 5
WHOLE = Ranges(((0, LENGTH),))


def receiver(
    *, length: int = LENGTH, spool: Spool | None = None, committed: bool = False
) -> Receiver:
    facts = PayloadFacts(length=length, sha256=bytes(32))
    return Receiver(
        CLIP, ObjectName.FILE, facts, now_us=0, credit=4, spool=spool, committed=committed
    )


def writing_bytes(made: Receiver) -> int:
    return sum(write.length for write in made._writing.values())


def open_one() -> Receiver:
    return receiver()


def receiving(length: int = LENGTH) -> Receiver:
    made = receiver(length=length)
    made.init(Init(C), 0)
    return made


def complete(failures: int = 0) -> Receiver:
    return receiver(spool=Spool(C, WHOLE, failures))


def storing(failures: int = 0) -> Receiver:
    made = complete(failures)
    assert made.fin(0) == (Store(),)
    return made


def committed() -> Receiver:
    return receiver(committed=True)


def quarantined() -> Receiver:
    return receiver(spool=Spool(C, failures=MAX_FAILURES))


STATES = {
    ReceiverState.OPEN: open_one,
    ReceiverState.RECEIVING: receiving,
    ReceiverState.STORING: storing,
    ReceiverState.COMMITTED: committed,
    ReceiverState.QUARANTINED: quarantined,
}


def write_of(actions: ReceiverActions) -> WriteSegment:
    (action,) = actions
    assert isinstance(action, WriteSegment)
    return action


def reply_of(actions: ReceiverActions) -> Reply:
    reply = actions[-1]
    assert isinstance(reply, Reply)
    assert decode_reply(encode_reply(reply)) == reply
    return reply


def said(actions: ReceiverActions) -> tuple[Subject, Code, str]:
    reply = reply_of(actions)
    return reply.subject, reply.code, reply.reason


@pytest.mark.parametrize("state", STATES)
def test_a_receiver_begins_where_its_spool_or_its_row_says(state: ReceiverState) -> None:
    assert STATES[state]().state is state


def test_an_init_is_answered_with_grant_credit_and_what_is_held() -> None:
    made = receiver(spool=Spool(C, Ranges(((C, 2 * C),))))

    reply = reply_of(made.init(Init(C), 0))

    assert (reply.clip, reply.object) == (CLIP, ObjectName.FILE)
    assert (reply.subject, reply.code, reply.offset) == (Subject.INIT, Code.OK, None)
    assert (reply.have, reply.upto) == (Ranges(((C, 2 * C),)), 0)
    assert (reply.credit, reply.chunk, reply.retry_after_ms) == (4, C, 0)


@pytest.mark.parametrize(("asked", "granted"), [(C, 2 * MIN_CHUNK_BYTES), (MIN_CHUNK_BYTES,) * 2])
def test_the_grant_is_what_was_asked_or_less(asked: int, granted: int) -> None:
    facts = PayloadFacts(length=LENGTH, sha256=bytes(32))
    made = Receiver(CLIP, ObjectName.FILE, facts, now_us=0, chunk=2 * MIN_CHUNK_BYTES)

    assert reply_of(made.init(Init(asked), 0)).chunk == granted


def test_a_grant_lasts_as_long_as_its_spool() -> None:
    made = receiving()
    assert reply_of(made.init(Init(MIN_CHUNK_BYTES), 0)).chunk == C

    made.abort(0)
    assert reply_of(made.init(Init(MIN_CHUNK_BYTES), 0)).chunk == MIN_CHUNK_BYTES


@pytest.mark.parametrize("state", [ReceiverState.OPEN, ReceiverState.RECEIVING])
def test_a_busy_service_asks_for_a_pause(state: ReceiverState) -> None:
    made = STATES[state]()
    made.credit = 0

    reply = reply_of(made.init(Init(C), 0))

    assert (reply.code, reply.reason) == (Code.PAUSE, Reason.BUSY)
    assert reply.retry_after_ms == BUSY_RETRY_MS
    assert made.state is state


def test_a_segment_is_held_once_it_is_written() -> None:
    made = receiving()

    write = write_of(made.segment(0, C, 0))
    assert (write.offset, write.length) == (0, C)
    assert write.record == written_record(C, 0, C)
    assert made.have == NOTHING
    assert writing_bytes(made) == C

    reply = reply_of(made.written(write))
    assert (reply.subject, reply.code, reply.offset) == (Subject.OFFSET, Code.OK, 0)
    assert reply.have == made.have == Ranges(((0, C),))
    assert writing_bytes(made) == 0


def test_a_repeated_segment_is_written_once_and_answered_again() -> None:
    made = receiving()
    write = write_of(made.segment(0, C, 0))

    assert made.segment(0, C, 0) == ()
    made.written(write)
    assert said(made.segment(0, C, 0)) == (Subject.OFFSET, Code.OK, "")
    assert made.written(write) == ()
    assert made.write_failed(write, 1) == ()


def test_a_segment_before_any_init_is_sent_back_to_the_init() -> None:
    assert said(open_one().segment(0, C, 0)) == (Subject.OFFSET, Code.MISSING, Reason.INIT_FIRST)


@pytest.mark.parametrize(
    ("offset", "length", "reason"),
    [
        (1, C, Reason.BAD_OFFSET),
        (C - 1, C, Reason.BAD_OFFSET),
        (MIN_CHUNK_BYTES, MIN_CHUNK_BYTES, Reason.BAD_OFFSET),
        (3 * C, C, Reason.BAD_OFFSET),
        (99_999_999, 1, Reason.BAD_OFFSET),
        (0, 0, Reason.BAD_LENGTH),
        (0, C - 1, Reason.BAD_LENGTH),
        (0, C + 1, Reason.BAD_LENGTH),
        (2 * C, 4, Reason.BAD_LENGTH),
        (2 * C, 6, Reason.BAD_LENGTH),
        (2 * C, C, Reason.BAD_LENGTH),
    ],
)
def test_a_segment_that_does_not_fit_is_refused(offset: int, length: int, reason: Reason) -> None:
    made = receiving()

    assert said(made.segment(offset, length, 0)) == (Subject.OFFSET, Code.NEVER, reason)
    assert writing_bytes(made) == 0


def test_an_offset_at_the_very_end_is_refused() -> None:
    made = receiving(length=2 * C)

    assert said(made.segment(2 * C, 0, 0)) == (Subject.OFFSET, Code.NEVER, Reason.BAD_OFFSET)


def test_no_more_than_a_window_waits_to_be_written() -> None:
    made = receiving(length=40 * C)
    for n in range(MAX_WINDOW):
        write_of(made.segment(n * C, C, 0))

    refused = made.segment(MAX_WINDOW * C, C, 0)

    assert said(refused) == (Subject.OFFSET, Code.AGAIN, Reason.OVER_CREDIT)
    assert writing_bytes(made) == MAX_WINDOW * CHUNK_BYTES


def test_a_full_spool_asks_for_a_pause_and_for_the_segment_later() -> None:
    made = receiving()
    write = write_of(made.segment(0, C, 0))

    reply = reply_of(made.write_failed(write, 500))

    assert (reply.code, reply.reason, reply.retry_after_ms) == (Code.PAUSE, Reason.SPOOL_FULL, 500)
    assert made.have == NOTHING
    write_of(made.segment(0, C, 0))


@pytest.mark.parametrize("state", [ReceiverState.OPEN, ReceiverState.RECEIVING])
def test_a_fin_too_early_is_told_what_is_held(state: ReceiverState) -> None:
    assert said(STATES[state]().fin(0)) == (Subject.FIN, Code.MISSING, Reason.INCOMPLETE)


def test_a_fin_is_answered_after_the_commit() -> None:
    made = complete()

    assert made.fin(0) == (Store(),)
    assert made.fin(0) == ()
    discard, receipt, reply = made.stored()
    assert (discard, receipt) == (Discard(), SendReceipt())
    assert said((reply,)) == (Subject.FIN, Code.OK, "")
    assert made.state is ReceiverState.COMMITTED


def test_a_sender_that_asks_while_storing_learns_that_nothing_is_missing() -> None:
    made = storing()
    made.credit = 0

    assert reply_of(made.init(Init(C), 0)).have == WHOLE
    assert said(made.segment(0, C, 0)) == (Subject.OFFSET, Code.OK, "")
    assert said(made.abort(0)) == (Subject.ABORT, Code.AGAIN, Reason.STORING)
    assert made.state is ReceiverState.STORING


def test_a_committed_object_answers_done_to_everything() -> None:
    made = committed()
    made.credit = 0

    assert reply_of(made.init(Init(C), 0)).have == WHOLE
    assert said(made.segment(7, 7, 0)) == (Subject.OFFSET, Code.OK, "")
    assert said(made.abort(0)) == (Subject.ABORT, Code.OK, "")
    assert made.fin(0)[0] == SendReceipt()
    assert said(made.fin(0)) == (Subject.FIN, Code.OK, "")
    assert made.state is ReceiverState.COMMITTED


def test_a_store_that_is_away_keeps_the_spool() -> None:
    made = storing()

    reply = reply_of(made.store_failed(3000))

    assert (reply.subject, reply.code, reply.retry_after_ms) == (Subject.FIN, Code.AGAIN, 3000)
    assert reply.have == WHOLE
    assert made.fin(0) == (Store(),)


def test_a_wrong_hash_begins_again_and_is_counted_in_the_journal() -> None:
    made = storing()

    discard, reply = made.mismatched()

    assert discard == Discard(failed_record(C, 1))
    assert said((reply,)) == (Subject.FIN, Code.MISSING, Reason.HASH_MISMATCH)
    assert reply_of((reply,)).have == NOTHING
    assert made.state is ReceiverState.RECEIVING


def test_the_third_wrong_hash_is_the_last_even_over_restarts() -> None:
    made = storing(failures=MAX_FAILURES - 1)

    discard, quarantine, reply = made.mismatched()

    assert quarantine == Quarantine(Reason.HASH_MISMATCH)
    assert said((reply,)) == (Subject.FIN, Code.NEVER, Reason.HASH_MISMATCH)
    assert isinstance(discard, Discard)
    assert receiver(spool=read_journal(discard.journal)).state is ReceiverState.QUARANTINED


def test_another_object_under_the_same_name_is_a_conflict() -> None:
    made = storing()

    discard, quarantine, reply = made.conflicted()

    assert quarantine == Quarantine(Reason.CONFLICT)
    assert said((reply,)) == (Subject.FIN, Code.NEVER, Reason.CONFLICT)
    assert isinstance(discard, Discard)
    assert receiver(spool=read_journal(discard.journal)).state is ReceiverState.QUARANTINED


def test_a_quarantined_object_is_refused() -> None:
    made = quarantined()

    assert said(made.init(Init(C), 0)) == (Subject.INIT, Code.NEVER, Reason.QUARANTINED)
    assert said(made.segment(0, C, 0)) == (Subject.OFFSET, Code.NEVER, Reason.QUARANTINED)
    assert said(made.fin(0)) == (Subject.FIN, Code.NEVER, Reason.QUARANTINED)
    assert said(made.abort(0)) == (Subject.ABORT, Code.OK, "")
    assert made.state is ReceiverState.QUARANTINED


def test_an_abort_forgets_what_was_received() -> None:
    made = receiver(spool=Spool(C, WHOLE))

    discard, reply = made.abort(0)

    assert discard == Discard()
    assert said((reply,)) == (Subject.ABORT, Code.OK, "")
    assert (made.state, made.have) == (ReceiverState.OPEN, NOTHING)
    assert said(made.abort(0)) == (Subject.ABORT, Code.OK, "")


def test_a_write_from_before_an_abort_is_not_taken_for_a_later_one() -> None:
    made = receiving()
    before = write_of(made.segment(0, C, 0))
    made.abort(0)
    made.init(Init(C), 0)
    after = write_of(made.segment(0, C, 0))

    assert made.written(before) == ()
    assert made.have == NOTHING
    made.written(after)
    assert made.have == Ranges(((0, C),))


@pytest.mark.parametrize("state", [ReceiverState.RECEIVING, ReceiverState.QUARANTINED])
def test_what_nobody_touches_for_a_day_is_forgotten(state: ReceiverState) -> None:
    made = STATES[state]()

    assert made.tick(IDLE_US - 1) == ()
    assert made.tick(IDLE_US) == (Discard(),)
    assert made.state is ReceiverState.OPEN


@pytest.mark.parametrize(
    "touch",
    [
        lambda made: made.init(Init(C), 1000),
        lambda made: made.segment(0, C, 1000),
        lambda made: made.fin(1000),
    ],
)
def test_every_message_is_a_touch(touch: object) -> None:
    made = receiving()
    assert callable(touch)
    touch(made)

    assert made.tick(IDLE_US + 999) == ()
    assert made.tick(IDLE_US + 1000) == (Discard(),)


@pytest.mark.parametrize(
    "state", [ReceiverState.OPEN, ReceiverState.STORING, ReceiverState.COMMITTED]
)
def test_what_holds_no_spool_of_its_own_does_not_expire(state: ReceiverState) -> None:
    made = STATES[state]()

    assert made.tick(10 * IDLE_US) == ()
    assert made.state is state


def test_reporting_a_store_nobody_asked_for_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        receiving().stored()


HOSTILE = st.one_of(
    st.builds(lambda chunk: ("init", chunk * MIN_CHUNK_BYTES, 0), st.integers(1, 4)),
    st.tuples(
        st.just("segment"),
        st.one_of(
            st.integers(0, 12).map(lambda n: n * MIN_CHUNK_BYTES), st.integers(0, 99_999_999)
        ),
        st.one_of(st.sampled_from([0, 1, 5, C, C - 1, MIN_CHUNK_BYTES]), st.integers(0, 160_000)),
    ),
    st.tuples(st.sampled_from(["fin", "abort"]), st.just(0), st.just(0)),
    st.tuples(st.just("settle"), st.integers(0, 3), st.just(0)),
)


class Besieged:
    """A receiver, and a shell that does what it is told and notes how far the spool reaches."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.receiver = receiver(length=length)
        self.pending: list[WriteSegment] = []
        self.spool_end = 0

    def take(self, kind: str, first: int, second: int) -> ReceiverActions:
        match kind:
            case "init":
                return self.receiver.init(Init(first), 0)
            case "segment":
                return self.receiver.segment(first, second, 0)
            case "fin":
                return self.receiver.fin(0)
            case "abort":
                return self.receiver.abort(0)
            case _:
                return self.settle(first)

    def settle(self, how: int) -> ReceiverActions:
        if self.receiver.state is ReceiverState.STORING:
            ends = (self.receiver.stored, self.receiver.mismatched, self.receiver.conflicted)
            return ends[how]() if how < len(ends) else self.receiver.store_failed(1000)
        written = [action for write in self.pending for action in self.receiver.written(write)]
        self.pending.clear()
        return tuple(written)

    def act(self, actions: ReceiverActions) -> None:
        for action in actions:
            match action:
                case WriteSegment():
                    self.pending.append(action)
                    self.spool_end = max(self.spool_end, action.offset + action.length)
                case Reply():
                    decode_reply(encode_reply(action))
                case Store():
                    assert self.receiver.have == Ranges(((0, self.length),))
                case _:
                    assert isinstance(action, Discard | SendReceipt | Quarantine)


@given(st.lists(HOSTILE, max_size=60), st.sampled_from([1, 5, C, LENGTH, 9 * MIN_CHUNK_BYTES]))
def test_whatever_a_sender_sends_only_replies_come_of_it(
    messages: list[tuple[str, int, int]], length: int
) -> None:
    besieged = Besieged(length)
    for kind, first, second in messages:
        besieged.act(besieged.take(kind, first, second))

        assert besieged.spool_end <= length
        assert besieged.receiver.have.size <= length
        assert writing_bytes(besieged.receiver) <= MAX_WINDOW * CHUNK_BYTES


def test_every_state_can_be_reached_and_only_a_committed_object_stays_as_it_is() -> None:
    left = {state for state, _ in RECEIVER_TRANSITIONS}
    reached = set(RECEIVER_TRANSITIONS.values()) | {ReceiverState.OPEN}

    assert left == set(ReceiverState) - {ReceiverState.COMMITTED}
    assert reached == set(ReceiverState)
    assert {cause for _, cause in RECEIVER_TRANSITIONS} == set(ReceiverCause)


def test_only_a_commit_leads_to_committed() -> None:
    ways = [move for move, state in RECEIVER_TRANSITIONS.items() if state == "committed"]

    assert ways == [(ReceiverState.STORING, ReceiverCause.STORED)]
