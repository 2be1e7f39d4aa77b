"""The service's side of one object, as a state machine.

Events in, actions out; no socket, file or clock. One receiver serves one
(device, clip, object); the caller keeps the bytes, carries the actions out in
order and reports how each went. Times are monotonic microseconds of any one
clock. Whatever a sender sends, the spool never outgrows the length in the
signed manifest, and nothing but a reply comes of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ObjectName, PayloadFacts
from doorstep_shared.transfer.messages import (
    CHUNK_BYTES,
    MAX_WINDOW,
    Code,
    Init,
    Reason,
    Reply,
    Subject,
)
from doorstep_shared.transfer.ranges import Ranges
from doorstep_shared.transfer.spool import Spool, failed_record, written_record

MAX_FAILURES: Final = 3
IDLE_US: Final = 24 * 3600 * 1_000_000
BUSY_RETRY_MS: Final = 1_000


class ReceiverState(StrEnum):
    """Where one object stands at the service."""

    OPEN = "open"
    RECEIVING = "receiving"
    STORING = "storing"
    COMMITTED = "committed"
    QUARANTINED = "quarantined"


class ReceiverCause(StrEnum):
    """What moves a receiver from one state to the next."""

    GRANTED = "init granted"
    ABORTED = "aborted by the sender"
    EXPIRED = "idle for 24 h"
    FIN = "fin, and nothing is missing"
    STORED = "stored, read back, committed"
    STORE_FAILED = "storing failed"
    MISMATCHED = "wrong hash"
    POISONED = "wrong hash for the third time"
    CONFLICTED = "another object has its place"


RECEIVER_TRANSITIONS: Final[Mapping[tuple[ReceiverState, ReceiverCause], ReceiverState]] = (
    MappingProxyType(
        {
            (ReceiverState.OPEN, ReceiverCause.GRANTED): ReceiverState.RECEIVING,
            (ReceiverState.RECEIVING, ReceiverCause.ABORTED): ReceiverState.OPEN,
            (ReceiverState.RECEIVING, ReceiverCause.EXPIRED): ReceiverState.OPEN,
            (ReceiverState.RECEIVING, ReceiverCause.FIN): ReceiverState.STORING,
            (ReceiverState.STORING, ReceiverCause.STORED): ReceiverState.COMMITTED,
            (ReceiverState.STORING, ReceiverCause.STORE_FAILED): ReceiverState.RECEIVING,
            (ReceiverState.STORING, ReceiverCause.MISMATCHED): ReceiverState.RECEIVING,
            (ReceiverState.STORING, ReceiverCause.POISONED): ReceiverState.QUARANTINED,
            (ReceiverState.STORING, ReceiverCause.CONFLICTED): ReceiverState.QUARANTINED,
            (ReceiverState.QUARANTINED, ReceiverCause.EXPIRED): ReceiverState.OPEN,
        }
    )
)
"""Every move a receiver can make; any other is a programming error."""


# Identity matters: a confirmation belongs to the very write that was asked for, and one
# from before the spool was discarded must not be taken for its successor's.
@dataclass(frozen=True, slots=True, eq=False)
class WriteSegment:
    """Write the segment's bytes into the spool at ``offset``, then append ``record``.

    Hand this very object to `Receiver.written` or `Receiver.write_failed`.

    Attributes:
        record: For the journal, once the bytes are written.
    """

    offset: int
    length: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Store:
    """Check the spool's SHA-256, put the object, read it back by checksum, commit its row.

    Answer with exactly one of `Receiver.stored`, `mismatched`, `store_failed`, `conflicted`.
    """


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove the spooled bytes and let ``journal`` be the whole journal.

    Attributes:
        journal: Empty: remove the journal too.
    """

    journal: bytes = b""


@dataclass(frozen=True, slots=True)
class SendReceipt:
    """Send the signed receipt on ``ack``; the row is committed."""


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Tell the operator: this object was refused for good.

    Attributes:
        reason: `HASH_MISMATCH` or `CONFLICT`.
    """

    reason: Reason


ReceiverAction: TypeAlias = Reply | WriteSegment | Store | Discard | SendReceipt | Quarantine
ReceiverActions: TypeAlias = tuple[ReceiverAction, ...]


class Receiver:
    """Collect one object, in any order, once.

    Args:
        facts: Length and hash of the payload, as in the verified manifest.
        now_us: Idle time counts from here.
        credit: Segments the service can take at once, 0 to 16; see `credit`.
        chunk: The largest segment to grant, bytes.
        spool: What the journal of an earlier life says, if there is one.
        committed: Whether the object's row is already committed, or a
            tombstone says that it was.

    Attributes:
        credit: Set by the caller whenever its load changes; the next reply carries
            it. At 0 a new or resumed transfer is told to pause.
    """

    def __init__(
        self,
        clip: ClipId,
        name: ObjectName,
        facts: PayloadFacts,
        *,
        now_us: int,
        credit: int = MAX_WINDOW,
        chunk: int = CHUNK_BYTES,
        spool: Spool | None = None,
        committed: bool = False,
    ) -> None:
        self.credit = credit
        self._clip = clip
        self._name = name
        self._length = facts.length
        self._largest = chunk
        self._spool = spool if spool is not None else Spool(chunk)
        self._writing: dict[int, WriteSegment] = {}
        self._active_us = now_us
        self._state = _first_state(spool, committed=committed)

    @property
    def state(self) -> ReceiverState:
        """Return where the object stands."""
        return self._state

    @property
    def have(self) -> Ranges:
        """Return every range that is held."""
        if self._state is ReceiverState.COMMITTED:
            return Ranges(((0, self._length),))
        return self._spool.ranges

    def init(self, init: Init, now_us: int) -> ReceiverActions:
        """Answer ``init``: what is held, and how to go on."""
        self._active_us = now_us
        if self._state is ReceiverState.QUARANTINED:
            return self._answer(Subject.INIT, Code.NEVER, Reason.QUARANTINED)
        if self._state in (ReceiverState.COMMITTED, ReceiverState.STORING):
            return self._answer(Subject.INIT, Code.OK)
        if self.credit == 0:
            return self._answer(Subject.INIT, Code.PAUSE, Reason.BUSY, BUSY_RETRY_MS)
        if self._state is ReceiverState.OPEN:
            self._spool = Spool(min(init.chunk, self._largest))
            self._move(ReceiverCause.GRANTED)
        return self._answer(Subject.INIT, Code.OK)

    def segment(self, offset: int, length: int, now_us: int) -> ReceiverActions:
        """Take the arrival of ``length`` bytes for ``offset``; the caller holds the bytes.

        They may be dropped unless a `WriteSegment` comes back.
        """
        self._active_us = now_us
        if self._state is ReceiverState.OPEN:
            return self._answer_segment(offset, Code.MISSING, Reason.INIT_FIRST)
        if self._state is ReceiverState.QUARANTINED:
            return self._answer_segment(offset, Code.NEVER, Reason.QUARANTINED)
        if self._state is ReceiverState.COMMITTED:
            return self._answer_segment(offset, Code.OK)
        return self._take(offset, length)

    def written(self, write: WriteSegment) -> ReceiverActions:
        """Count a segment as held and say so: its bytes and its record are written."""
        if self._writing.get(write.offset) is not write:
            return ()
        del self._writing[write.offset]
        ranges = self._spool.ranges.add(write.offset, write.offset + write.length)
        self._spool = Spool(self._spool.chunk, ranges, self._spool.failures)
        return self._answer_segment(write.offset, Code.OK)

    def write_failed(self, write: WriteSegment, retry_after_ms: int) -> ReceiverActions:
        """Ask for a pause: the spool had no room."""
        if self._writing.get(write.offset) is not write:
            return ()
        del self._writing[write.offset]
        return self._answer_segment(write.offset, Code.PAUSE, Reason.SPOOL_FULL, retry_after_ms)

    def fin(self, now_us: int) -> ReceiverActions:
        """Store the object if nothing is missing; the reply comes when it is committed."""
        self._active_us = now_us
        match self._state:
            case ReceiverState.COMMITTED:
                return (SendReceipt(), *self._answer(Subject.FIN, Code.OK))
            case ReceiverState.STORING:
                return ()
            case ReceiverState.QUARANTINED:
                return self._answer(Subject.FIN, Code.NEVER, Reason.QUARANTINED)
            case ReceiverState.RECEIVING if self.have.covers(0, self._length):
                self._move(ReceiverCause.FIN)
                return (Store(),)
            case _:
                return self._answer(Subject.FIN, Code.MISSING, Reason.INCOMPLETE)

    def abort(self, now_us: int) -> ReceiverActions:
        """Forget an unfinished object; one being stored or committed stays."""
        self._active_us = now_us
        if self._state is ReceiverState.STORING:
            return self._answer(Subject.ABORT, Code.AGAIN, Reason.STORING)
        if self._state is not ReceiverState.RECEIVING:
            return self._answer(Subject.ABORT, Code.OK)
        forgotten = self._forget(ReceiverCause.ABORTED)
        return (*forgotten, *self._answer(Subject.ABORT, Code.OK))

    def stored(self) -> ReceiverActions:
        """Tell the sender: stored, read back by checksum, and the row is committed."""
        self._move(ReceiverCause.STORED)
        return (Discard(), SendReceipt(), *self._answer(Subject.FIN, Code.OK))

    def store_failed(self, retry_after_ms: int) -> ReceiverActions:
        """Keep the spool and ask for another ``fin`` later: store or database are away."""
        self._move(ReceiverCause.STORE_FAILED)
        return self._answer(Subject.FIN, Code.AGAIN, Reason.STORE_FAILED, retry_after_ms)

    def mismatched(self) -> ReceiverActions:
        """Begin again: the spool's hash is not the manifest's. The third time is the last."""
        failures = self._spool.failures + 1
        if failures >= MAX_FAILURES:
            return self._quarantine(ReceiverCause.POISONED, Reason.HASH_MISMATCH)
        self._move(ReceiverCause.MISMATCHED)
        journal = self._restart(failures)
        answer = self._answer(Subject.FIN, Code.MISSING, Reason.HASH_MISMATCH)
        return (Discard(journal), *answer)

    def conflicted(self) -> ReceiverActions:
        """Refuse for good: an object with another hash is stored under this name."""
        return self._quarantine(ReceiverCause.CONFLICTED, Reason.CONFLICT)

    def tick(self, now_us: int) -> ReceiverActions:
        """Forget what no one has touched for 24 h."""
        expires = (self._state, ReceiverCause.EXPIRED) in RECEIVER_TRANSITIONS
        if not expires or now_us - self._active_us < IDLE_US:
            return ()
        return self._forget(ReceiverCause.EXPIRED)

    def _take(self, offset: int, length: int) -> ReceiverActions:
        if not 0 <= offset < self._length or offset % self._spool.chunk:
            return self._answer_segment(offset, Code.NEVER, Reason.BAD_OFFSET)
        if length != min(self._spool.chunk, self._length - offset):
            return self._answer_segment(offset, Code.NEVER, Reason.BAD_LENGTH)
        if self.have.covers(offset, offset + length):
            return self._answer_segment(offset, Code.OK)
        return self._write(offset, length)

    def _write(self, offset: int, length: int) -> ReceiverActions:
        if offset in self._writing:
            return ()
        if len(self._writing) >= MAX_WINDOW:
            return self._answer_segment(offset, Code.AGAIN, Reason.OVER_CREDIT)
        record = written_record(self._spool.chunk, offset, offset + length)
        self._writing[offset] = WriteSegment(offset, length, record)
        return (self._writing[offset],)

    def _quarantine(self, cause: ReceiverCause, reason: Reason) -> ReceiverActions:
        self._move(cause)
        journal = self._restart(MAX_FAILURES)
        answer = self._answer(Subject.FIN, Code.NEVER, reason)
        return (Discard(journal), Quarantine(reason), *answer)

    def _restart(self, failures: int) -> bytes:
        """Drop every range, keep the count, and return the journal that says so."""
        self._writing.clear()
        self._spool = Spool(self._spool.chunk, failures=failures)
        return failed_record(self._spool.chunk, failures)

    def _forget(self, cause: ReceiverCause) -> ReceiverActions:
        self._move(cause)
        self._writing.clear()
        self._spool = Spool(self._largest)
        return (Discard(),)

    def _answer_segment(
        self, offset: int, code: Code, reason: Reason = Reason.NONE, retry_after_ms: int = 0
    ) -> ReceiverActions:
        return self._answer(Subject.OFFSET, code, reason, retry_after_ms, offset)

    def _answer(
        self,
        subject: Subject,
        code: Code,
        reason: Reason = Reason.NONE,
        retry_after_ms: int = 0,
        offset: int | None = None,
    ) -> ReceiverActions:
        reply = Reply(
            clip=self._clip,
            object=self._name,
            subject=subject,
            code=code,
            offset=offset,
            reason=reason,
            have=self.have,
            credit=self.credit,
            chunk=self._spool.chunk,
            retry_after_ms=retry_after_ms,
        )
        return (reply,)

    def _move(self, cause: ReceiverCause) -> None:
        self._state = RECEIVER_TRANSITIONS[self._state, cause]


def _first_state(spool: Spool | None, *, committed: bool) -> ReceiverState:
    if committed:
        return ReceiverState.COMMITTED
    if spool is None:
        return ReceiverState.OPEN
    if spool.failures >= MAX_FAILURES:
        return ReceiverState.QUARANTINED
    return ReceiverState.RECEIVING
