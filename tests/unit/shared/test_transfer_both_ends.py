"""Both ends of a transfer over a line that loses, repeats, reorders and delays.

Hypothesis drives; every run ends with a fair line, on which the object has to
arrive within a bounded number of steps.
"""

import hashlib
import random
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

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
    decode_init,
    decode_reply,
    encode_init,
    encode_reply,
)
from doorstep_shared.transfer.receiver import (
    Discard,
    Quarantine,
    Receiver,
    ReceiverActions,
    SendReceipt,
    Store,
    WriteSegment,
)
from doorstep_shared.transfer.sender import (
    Announce,
    Finished,
    GaveUp,
    SendAbort,
    Sender,
    SenderActions,
    SenderState,
    SendFin,
    SendInit,
    SendSegment,
)
from doorstep_shared.transfer.spool import read_journal

CLIP: Final = ClipId("0190a0b0-0000-7000-8000-000000000000")
CHUNKS: Final = st.sampled_from([MIN_CHUNK_BYTES, 2 * MIN_CHUNK_BYTES, CHUNK_BYTES])
ENDS: Final = (SenderState.DONE, SenderState.CANCELLED)


class Service:
    """The receiver's shell: a spool that survives, a store and a row."""

    def __init__(self, facts: PayloadFacts, publish: Callable[[bytes], None]) -> None:
        self.facts = facts
        self.publish = publish
        self.is_clip_known = False
        self.receiver: Receiver | None = None
        self.credit = MAX_WINDOW
        self.largest = CHUNK_BYTES
        self.bytes = bytearray()
        self.journal = b""
        self.arriving: dict[int, bytes] = {}
        self.outcomes: list[tuple[WriteSegment, bool]] = []
        self.is_storing = False
        self.object: bytes | None = None
        self.rows = 0
        self.receipts = 0
        self.quarantines: list[Reason] = []
        self.is_rotten = False
        self.now_us = 0

    def awake(self) -> Receiver:
        if self.receiver is None:
            self.receiver = Receiver(
                CLIP,
                ObjectName.FILE,
                self.facts,
                now_us=self.now_us,
                chunk=self.largest,
                spool=read_journal(self.journal),
                committed=self.rows > 0,
            )
        self.receiver.credit = self.credit
        return self.receiver

    def take(self, topic: str, body: bytes) -> None:
        if topic == "ev/clip":
            self.is_clip_known = True
        elif not self.is_clip_known:
            self.say_unknown(topic)
        elif topic == "init":
            self.act(self.awake().init(decode_init(body), self.now_us))
        elif topic == "fin":
            self.act(self.awake().fin(self.now_us))
        elif topic == "abort":
            self.act(self.awake().abort(self.now_us))
        else:
            offset = int(topic)
            self.arriving[offset] = body
            self.act(self.awake().segment(offset, len(body), self.now_us))

    def say_unknown(self, topic: str) -> None:
        is_segment = topic.isdecimal()
        reply = Reply(
            clip=CLIP,
            object=ObjectName.FILE,
            subject=Subject.OFFSET if is_segment else Subject(topic),
            code=Code.PAUSE,
            offset=int(topic) if is_segment else None,
            reason=Reason.CLIP_UNKNOWN,
            retry_after_ms=200,
        )
        self.publish(encode_reply(reply))

    def act(self, actions: ReceiverActions) -> None:
        for action in actions:
            match action:
                case Reply():
                    self.publish(encode_reply(action))
                case WriteSegment():
                    self.outcomes.append((action, self.write(action)))
                case Store():
                    self.is_storing = True
                case Discard():
                    self.bytes.clear()
                    self.is_rotten = False
                    self.journal = action.journal
                case SendReceipt():
                    assert self.rows == 1
                    self.receipts += 1
                case Quarantine():
                    self.quarantines.append(action.reason)

    has_room = True

    def write(self, write: WriteSegment) -> bool:
        if not self.has_room:
            return False
        body = self.arriving[write.offset]
        assert len(body) == write.length
        missing = write.offset + write.length - len(self.bytes)
        self.bytes.extend(bytes(max(0, missing)))
        self.bytes[write.offset : write.offset + write.length] = body
        self.journal += write.record
        return True

    def confirm_write(self) -> None:
        write, is_written = self.outcomes.pop(0)
        receiver = self.awake()
        if is_written:
            self.act(receiver.written(write))
        else:
            self.act(receiver.write_failed(write, retry_after_ms=500))

    def put(self) -> bool:
        """Put the object if it is absent; return whether the spool had the right hash."""
        if hashlib.sha256(self.bytes).digest() != self.facts.sha256:
            assert self.is_rotten
            return False
        assert self.object is None or self.object == bytes(self.bytes)
        self.object = bytes(self.bytes)
        return True

    def store(self) -> None:
        self.is_storing = False
        if self.put():
            self.rows += 1
            self.act(self.awake().stored())
        else:
            self.act(self.awake().mismatched())

    def crash(self, torn: int) -> None:
        self.receiver = None
        self.outcomes.clear()
        self.is_storing = False
        self.journal = self.journal[: len(self.journal) - torn]


class Transfer(RuleBasedStateMachine):
    """A doorbell, a line and a service, all of them at Hypothesis' mercy."""

    @initialize(
        seed=st.integers(0, 1000),
        length=st.one_of(
            st.integers(1, 40 * MIN_CHUNK_BYTES),
            st.integers(1, 40).map(lambda n: n * MIN_CHUNK_BYTES),
            st.integers(16, 24).map(lambda n: n * CHUNK_BYTES),
        ),
        chunk=CHUNKS,
    )
    def begin(self, seed: int, length: int, chunk: int) -> None:
        self.data = random.Random(seed).randbytes(length)
        self.facts = PayloadFacts(length=length, sha256=hashlib.sha256(self.data).digest())
        self.up: list[tuple[str, bytes]] = []
        self.down: list[bytes] = []
        self.service = Service(self.facts, self.down.append)
        self.sender = Sender(self.facts, chunk=chunk)
        self.now_us = 0
        self.is_connected = False
        self.finished = 0
        self.corruptions = 0
        self.connect()

    # The doorbell's shell.

    def act(self, actions: SenderActions) -> None:
        for action in actions:
            match action:
                case SendInit():
                    self.up.append(("init", encode_init(Init(action.chunk))))
                case SendSegment():
                    body = self.data[action.offset : action.offset + action.length]
                    assert len(body) == action.length > 0
                    self.up.append((str(action.offset), body))
                case SendFin():
                    self.up.append(("fin", b""))
                case SendAbort():
                    self.up.append(("abort", b""))
                case Announce():
                    self.up.append(("ev/clip", b""))
                case Finished():
                    self.finished += 1
                case GaveUp():
                    assert self.service.quarantines

    @precondition(lambda self: not self.is_connected)
    @rule()
    def connect(self) -> None:
        self.is_connected = True
        self.act(self.sender.connected(self.now_us))

    @precondition(lambda self: self.is_connected)
    @rule(loses_all=st.booleans())
    def disconnect(self, loses_all: bool) -> None:  # noqa: FBT001 - Hypothesis passes it by name
        self.is_connected = False
        self.act(self.sender.disconnected())
        if loses_all:
            self.up.clear()
            self.down.clear()

    @rule(chunk=CHUNKS)
    def restart_doorbell(self, chunk: int) -> None:
        self.sender = Sender(self.facts, chunk=chunk)
        self.is_connected = False
        self.connect()

    @rule(ms=st.integers(1, 10_000))
    def wait(self, ms: int) -> None:
        self.now_us += ms * 1000
        self.service.now_us = self.now_us
        self.act(self.sender.tick(self.now_us))

    # The line.

    @precondition(lambda self: self.up)
    @rule(pick=st.integers(0, 100), count=st.integers(1, 20), ms=st.integers(0, 400))
    def deliver_up(self, pick: int, count: int, ms: int) -> None:
        self.wait(ms)
        for _ in range(min(count, len(self.up))):
            self.service.take(*self.up.pop(pick % len(self.up)))

    @precondition(lambda self: self.up)
    @rule(pick=st.integers(0, 100))
    def repeat_up(self, pick: int) -> None:
        self.service.take(*self.up[pick % len(self.up)])

    @precondition(lambda self: self.up)
    @rule(pick=st.integers(0, 100))
    def lose_up(self, pick: int) -> None:
        self.up.pop(pick % len(self.up))

    @precondition(lambda self: self.down and self.is_connected)
    @rule(pick=st.integers(0, 100), count=st.integers(1, 20), ms=st.integers(0, 400))
    def deliver_down(self, pick: int, count: int, ms: int) -> None:
        self.wait(ms)
        for _ in range(min(count, len(self.down))):
            body = self.down.pop(pick % len(self.down))
            self.act(self.sender.replied(decode_reply(body), self.now_us))

    @precondition(lambda self: self.down and self.is_connected)
    @rule(pick=st.integers(0, 100))
    def repeat_down(self, pick: int) -> None:
        body = self.down[pick % len(self.down)]
        self.act(self.sender.replied(decode_reply(body), self.now_us))

    @precondition(lambda self: self.down)
    @rule(pick=st.integers(0, 100))
    def lose_down(self, pick: int) -> None:
        self.down.pop(pick % len(self.down))

    # The service.

    @precondition(lambda self: self.service.outcomes)
    @rule(count=st.integers(1, 20))
    def confirm_writes(self, count: int) -> None:
        for _ in range(min(count, len(self.service.outcomes))):
            self.service.confirm_write()

    @rule(has_room=st.booleans(), credit=st.integers(0, MAX_WINDOW))
    def load_changes(self, has_room: bool, credit: int) -> None:  # noqa: FBT001 - as above
        self.service.has_room = has_room
        self.service.credit = credit

    @rule(torn=st.integers(0, 50), largest=CHUNKS)
    def restart_service(self, torn: int, largest: int) -> None:
        self.service.crash(torn)
        self.service.largest = largest

    @precondition(lambda self: self.service.is_storing)
    @rule()
    def store(self) -> None:
        self.service.store()

    @precondition(lambda self: self.service.is_storing)
    @rule(retry_after_ms=st.integers(0, 3000), had_put=st.booleans())
    def fail_to_store(self, retry_after_ms: int, had_put: bool) -> None:  # noqa: FBT001 - as above
        self.service.is_storing = False
        if had_put:
            self.service.put()
        self.service.act(self.service.awake().store_failed(retry_after_ms))

    @precondition(lambda self: self.service.is_storing)
    @rule()
    def crash_between_put_and_commit(self) -> None:
        self.service.put()
        self.service.crash(0)

    @precondition(lambda self: self.service.bytes and self.service.object is None)
    @rule(where=st.integers(0, 40 * MIN_CHUNK_BYTES))
    def rot(self, where: int) -> None:
        self.service.bytes[where % len(self.service.bytes)] ^= 1
        self.service.is_rotten = True
        self.corruptions += 1

    @rule()
    def expire(self) -> None:
        self.service.act(self.service.awake().tick(self.now_us + 24 * 3600 * 1_000_000))

    # What always holds.

    @invariant()
    def done_only_after_a_commit(self) -> None:
        if not hasattr(self, "sender"):
            return
        if self.sender.state is SenderState.DONE:
            assert self.service.rows == 1
            assert self.finished >= 1

    @invariant()
    def stored_once_and_equal(self) -> None:
        if not hasattr(self, "sender"):
            return
        assert self.service.rows <= 1
        if self.service.rows:
            assert self.service.object == self.data

    @invariant()
    def little_is_on_the_way_and_no_byte_too_many_is_spooled(self) -> None:
        if not hasattr(self, "sender"):
            return
        assert self.sender.in_flight_bytes <= MAX_WINDOW * CHUNK_BYTES
        assert len(self.sender._left_us) <= MAX_WINDOW
        assert len(self.service.bytes) <= len(self.data)
        if self.service.receiver is not None:
            waiting = self.service.receiver._writing.values()
            assert sum(write.length for write in waiting) <= MAX_WINDOW * CHUNK_BYTES

    # How every run ends.

    def teardown(self) -> None:
        if not hasattr(self, "sender"):
            return
        self.service.credit = MAX_WINDOW
        self.service.has_room = True
        if not self.is_connected:
            self.connect()
        segments = len(self.data) // MIN_CHUNK_BYTES + 1
        # Each wrong hash costs the whole object once more; everything else a few messages.
        bound = len(self.up) + len(self.down) + (self.corruptions + 2) * (6 * segments + 60)
        for _ in range(2 * bound):
            if self.sender.state in ENDS:
                break
            self.step_fairly()
            self.little_is_on_the_way_and_no_byte_too_many_is_spooled()
        if self.sender.state is SenderState.CANCELLED:
            assert self.service.quarantines
            assert self.corruptions >= 3
            return
        assert self.sender.state is SenderState.DONE
        assert self.service.object == self.data
        assert self.service.rows == 1
        assert self.service.receipts >= 1

    def step_fairly(self) -> None:
        if self.down:
            self.act(self.sender.replied(decode_reply(self.down.pop(0)), self.now_us))
        elif self.service.outcomes:
            self.service.confirm_write()
        elif self.service.is_storing:
            self.service.store()
        elif self.up:
            self.service.take(*self.up.pop(0))
        else:
            assert self.sender.wake_us is not None
            self.now_us = self.service.now_us = max(self.now_us, self.sender.wake_us)
            self.act(self.sender.tick(self.now_us))


TestTransfer = Transfer.TestCase
TestTransfer.settings = settings(
    max_examples=120,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
