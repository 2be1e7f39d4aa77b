"""Payloads under way: segments into the spool, whole objects to the store.

Everything is decided by one `Receiver` per object; this module carries out
what they say. Segments are written on the bulk connection's thread; objects
are stored by a few workers of their own, and rings wait for neither.
"""

import threading
import time
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from doorstep_cloud.clips.service import ObjectState, find_object
from doorstep_cloud.ingest.connection import Publish
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.rules import decide_credit
from doorstep_cloud.ingest.senders import find_sender
from doorstep_cloud.ingest.storing import (
    Conflicted,
    Deleted,
    Failed,
    Mismatched,
    NotAnnounced,
    NotHeard,
    Stored,
    StoreRoom,
)
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.spool import TOTAL_LIMIT_BYTES, Spool, SpoolKey, SpoolWriteError
from doorstep_shared.errors import BadMessageError, TryLaterError
from doorstep_shared.ids import ClipId, DeviceId, HouseholdId
from doorstep_shared.manifest import PayloadFacts
from doorstep_shared.signing import decode_signed
from doorstep_shared.topics import Command, DeviceTopic, Leaf, SegmentTopic, TransferTopic
from doorstep_shared.transfer import (
    Code,
    Discard,
    Init,
    Quarantine,
    Ranges,
    Reason,
    Receiver,
    ReceiverAction,
    ReceiverState,
    Reply,
    SendReceipt,
    Store,
    Subject,
    WriteSegment,
    decode_init,
    encode_reply,
    read_journal,
)
from doorstep_shared.wire import Ack

log = structlog.get_logger(__name__)

STORE_WORKERS: Final = 4
DEVICE_TRANSFERS: Final = 16
"""Unfinished objects of one doorbell; an honest one sends one at a time."""

DEVICE_QUARANTINED: Final = 64
"""Objects refused for good that are remembered of one doorbell. Of more, the one it asked for
longest ago is forgotten, and gets its tries anew if it comes again."""

HOUSEHOLD_LIMIT_BYTES: Final = TOTAL_LIMIT_BYTES // 4
"""Of the spool, for all doorbells of one household: it can list more than would fill it."""

OWN_IDLE_US: Final = 60 * 1_000_000
OTHERS_IDLE_US: Final = 600 * 1_000_000
"""An unfinished object of which no bytes came for so long makes room for one that comes now; its
doorbell begins it again. To ask for it again and again does not keep its place."""

NOT_IN_MANIFEST: Final = "not_in_manifest"

# Nothing is held of these, and the database knows all about them.
_SETTLED: Final = (ReceiverState.OPEN, ReceiverState.COMMITTED)

SPOOL_RETRY_MS: Final = 10_000
DATABASE_RETRY_MS: Final = 1_000
CRASH_RETRY_MS: Final = 30_000


@dataclass(slots=True)
class _Transfer:
    """One object under way.

    Attributes:
        touched_us: When its doorbell was last heard about it.
        grown_us: When bytes of it last came; at first, when it was begun.
    """

    household: HouseholdId

    receiver: Receiver
    facts: PayloadFacts
    receipt: bytes | None
    touched_us: int
    grown_us: int

    @property
    def is_unfinished(self) -> bool:
        """Return whether bytes of it are here or may come."""
        return self.receiver.state is not ReceiverState.QUARANTINED


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How much is under way at one moment.

    Attributes:
        unfinished: Objects of which bytes are here, or may come.
        storing: Whole objects that wait for the store, or are on their way to it.
        reserved_bytes: Of the spool, set aside for them.
    """

    unfinished: int
    storing: int
    reserved_bytes: int


class TransferDesk:
    """All payloads under way, over restarts.

    Objects that are finished or not begun are not remembered here: the
    database knows them.
    """

    def __init__(
        self,
        databases: Databases,
        spool: Spool,
        room: StoreRoom,
        publish: Publish,
        counters: IngestCounters,
        *,
        workers: int = STORE_WORKERS,
        household_limit_bytes: int = HOUSEHOLD_LIMIT_BYTES,
    ) -> None:
        self._household_limit_bytes: Final = household_limit_bytes
        self._databases = databases
        self._spool = spool
        self._room = room
        self._publish = publish
        self._counters = counters
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="ingest-store")
        self._lock = threading.Lock()
        self._transfers: dict[SpoolKey, _Transfer] = {}
        self._storing = 0

    def resume(self) -> None:
        """Take up what the spool holds; what nobody waits for any more is removed.

        Raises:
            TryLaterError: The database is away.
        """
        with self._lock:
            for key in list(self._spool.keys()):
                if not self._resume_one(key):
                    self._spool.discard(key)

    def stop(self) -> None:
        """Finish what is being stored, and begin nothing more."""
        self._workers.shutdown(cancel_futures=True)

    def take(self, topic: TransferTopic | SegmentTopic, payload: bytes) -> bool:
        """Take one message of a transfer; called on the bulk connection's thread.

        Returns:
            Whether it was a segment that was waited for.
        """
        key = SpoolKey(topic.device, topic.clip, topic.object)
        with self._lock:
            if isinstance(topic, SegmentTopic):
                return self._take_segment(key, topic.offset, payload)
            self._take_command(key, topic.command, payload)
            return False

    def under_way(self) -> UnderWay:
        """Return how much is under way; any thread may ask."""
        with self._lock:
            unfinished = sum(transfer.is_unfinished for transfer in self._transfers.values())
            return UnderWay(unfinished, self._storing, self._spool.total_reserved_bytes)

    def tick(self) -> None:
        """Forget what was idle for a day; called once in a while."""
        with self._lock:
            for key, transfer in list(self._transfers.items()):
                self._carry_out(key, transfer, transfer.receiver.tick(_now_us()))

    def forget_clips(self, clips: Collection[ClipId]) -> None:
        """Drop what is under way of deleted clips, and tell their doorbells; from any thread.

        What is with the store just now is dropped when the store is done with it.
        """
        with self._lock:
            for key, transfer in list(self._transfers.items()):
                if key.clip in clips and transfer.receiver.state is not ReceiverState.STORING:
                    self._drop(key)
                    self._refuse(key, Command.INIT, Code.NEVER, Reason.DELETED)

    def sweep_spool(self) -> int:
        """Remove what the spool holds and nobody waits for; return how many payloads that was."""
        with self._lock:
            leftovers = set(self._spool.keys()).difference(self._transfers)
            for key in leftovers:
                self._spool.discard(key)
        return len(leftovers)

    def _take_segment(self, key: SpoolKey, offset: int, payload: bytes) -> bool:
        if (transfer := self._transfers.get(key)) is None:
            # After a restart of ours, or after the object was stored: a new `init` tells which.
            reply = Reply(
                key.clip,
                key.object,
                Subject.OFFSET,
                Code.MISSING,
                offset=offset,
                reason=Reason.INIT_FIRST,
            )
            self._send_reply(key.device, reply)
            return False
        transfer.touched_us = _now_us()
        transfer.receiver.credit = self._credit()
        actions = transfer.receiver.segment(offset, len(payload), transfer.touched_us)
        self._carry_out(key, transfer, actions, payload)
        is_new = any(isinstance(action, WriteSegment) for action in actions)
        if is_new:
            transfer.grown_us = transfer.touched_us
        return is_new

    def _take_command(self, key: SpoolKey, command: Command, payload: bytes) -> None:
        init = Init()
        if command is Command.INIT:
            try:
                init = decode_init(payload)
            except BadMessageError:
                self._counters.add(Count.DROPPED_MALFORMED)
                self._refuse(key, command, Code.MALFORMED)
                return
        if (transfer := self._known(key, command)) is None:
            return
        now_us = transfer.touched_us = _now_us()
        transfer.receiver.credit = self._credit()
        match command:
            case Command.INIT:
                self._take_init(key, transfer, init, now_us)
            case Command.FIN:
                self._carry_out(key, transfer, transfer.receiver.fin(now_us))
            case Command.ABORT:
                self._carry_out(key, transfer, transfer.receiver.abort(now_us))

    def _take_init(self, key: SpoolKey, transfer: _Transfer, init: Init, now_us: int) -> None:
        is_new = transfer.receiver.state is ReceiverState.OPEN
        if is_new and not self._make_room(key, transfer):
            transfer.receiver.credit = 0
        self._carry_out(key, transfer, transfer.receiver.init(init, now_us))

    def _known(self, key: SpoolKey, command: Command) -> _Transfer | None:
        """Return the transfer, looked up in the database if need be; None if it was answered."""
        if (transfer := self._transfers.get(key)) is not None:
            return transfer
        try:
            with self._databases.read() as unit:
                sender = find_sender(unit, key.device)
                state = find_object(unit, key.device, key.clip, key.object)
        except TryLaterError:
            self._refuse(key, command, Code.PAUSE, Reason.BUSY, DATABASE_RETRY_MS)
            return None
        if sender is None:
            self._counters.add(Count.DROPPED_UNKNOWN_SENDER)
            return None
        if state is None:
            self._refuse(key, command, Code.PAUSE, Reason.CLIP_UNKNOWN)
            return None
        if state.is_deleted:
            self._refuse(key, command, Code.NEVER, Reason.DELETED)
            return None
        return self._begin(key, sender.household, state, command)

    def _begin(
        self, key: SpoolKey, household: HouseholdId, state: ObjectState, command: Command
    ) -> _Transfer | None:
        if state.facts is None:
            self._refuse(key, command, Code.NOT_ALLOWED, NOT_IN_MANIFEST)
            return None
        now_us = _now_us()
        is_stored = state.receipt is not None
        receiver = Receiver(key.clip, key.object, state.facts, now_us=now_us, committed=is_stored)
        transfer = self._transfers[key] = _Transfer(
            household, receiver, state.facts, state.receipt, touched_us=now_us, grown_us=now_us
        )
        return transfer

    def _resume_one(self, key: SpoolKey) -> bool:
        with self._databases.read() as unit:
            sender = find_sender(unit, key.device)
            state = find_object(unit, key.device, key.clip, key.object)
        if sender is None or state is None or state.facts is None or state.receipt is not None:
            return False
        spooled = read_journal(self._spool.read_journal(key))
        if spooled is None or not _are_there(spooled.ranges, self._spool.written_bytes(key)):
            return False
        now_us = _now_us()
        receiver = Receiver(key.clip, key.object, state.facts, now_us=now_us, spool=spooled)
        transfer = _Transfer(
            sender.household, receiver, state.facts, None, touched_us=now_us, grown_us=now_us
        )
        if transfer.is_unfinished and not self._spool.reserve(key, state.facts.length):
            return False
        self._transfers[key] = transfer
        return True

    def _make_room(self, key: SpoolKey, transfer: _Transfer) -> bool:
        """Set its length aside, if need be in place of what was given up long ago."""
        while not self._reserve(key, transfer):
            if (given_up := self._idlest(key)) is None:
                return False
            self._spool.discard(given_up)
            del self._transfers[given_up]
        return True

    def _reserve(self, key: SpoolKey, transfer: _Transfer) -> bool:
        return (
            self._count_of(key.device) <= DEVICE_TRANSFERS
            and self._bytes_of(transfer.household) <= self._household_limit_bytes
            and self._spool.reserve(key, transfer.facts.length)
        )

    def _bytes_of(self, household: HouseholdId) -> int:
        """Return how much a household's unfinished objects take, one that asks for room too."""
        return sum(
            transfer.facts.length
            for transfer in self._transfers.values()
            if transfer.household == household and transfer.is_unfinished
        )

    def _count_of(self, device: DeviceId) -> int:
        return sum(
            key.device == device and transfer.is_unfinished
            for key, transfer in self._transfers.items()
        )

    def _idlest(self, for_key: SpoolKey) -> SpoolKey | None:
        """Return the unfinished object that may go first in favour of ``for_key``."""
        now_us = _now_us()
        idle = [
            (transfer.grown_us, key)
            for key, transfer in self._transfers.items()
            if transfer.receiver.state is ReceiverState.RECEIVING
            and now_us - transfer.grown_us
            > (OWN_IDLE_US if key.device == for_key.device else OTHERS_IDLE_US)
        ]
        return min(idle)[1] if idle else None

    def _credit(self) -> int:
        unfinished = sum(transfer.is_unfinished for transfer in self._transfers.values())
        return decide_credit(unfinished, self._storing)

    def _carry_out(
        self,
        key: SpoolKey,
        transfer: _Transfer,
        actions: Iterable[ReceiverAction],
        payload: bytes = b"",
    ) -> None:
        for action in actions:
            match action:
                case Reply():
                    self._send_reply(key.device, action)
                case WriteSegment():
                    self._carry_out(key, transfer, self._write(key, transfer, action, payload))
                case Store():
                    self._storing += 1
                    self._workers.submit(self._store, key, transfer)
                case Discard(journal):
                    self._spool.discard(key, journal)
                case SendReceipt():
                    self._send_receipt(key.device, transfer)
                case Quarantine(reason):
                    self._counters.add(Count.OBJECT_QUARANTINED)
                    log.warning(
                        "object_quarantined",
                        clip_id=key.clip,
                        object=key.object.value,
                        device=key.device,
                        reason=reason.value,
                    )
                    self._hold_quarantined(key)
        if transfer.receiver.state in _SETTLED:
            self._transfers.pop(key, None)
            self._spool.release(key)

    def _hold_quarantined(self, key: SpoolKey) -> None:
        """Remember that ``key`` is refused, which takes no room; nothing of it comes any more."""
        self._spool.release(key)
        refused = [
            (transfer.touched_us, other)
            for other, transfer in self._transfers.items()
            if other.device == key.device and not transfer.is_unfinished
        ]
        if len(refused) > DEVICE_QUARANTINED:
            _, longest_ago = min(refused)
            self._spool.discard(longest_ago)
            del self._transfers[longest_ago]

    def _write(
        self, key: SpoolKey, transfer: _Transfer, write: WriteSegment, payload: bytes
    ) -> Iterable[ReceiverAction]:
        try:
            self._spool.write(key, write.offset, payload, write.record)
        except SpoolWriteError:
            log.warning(
                "spool_write_failed", clip_id=key.clip, object=key.object.value, device=key.device
            )
            return transfer.receiver.write_failed(write, SPOOL_RETRY_MS)
        return transfer.receiver.written(write)

    def _store(self, key: SpoolKey, transfer: _Transfer) -> None:
        """Store one whole object; runs on a worker and takes as long as the store does."""
        try:
            outcome = self._room.keep(key, transfer.facts, self._spool.path(key))
        except Exception:  # The boundary of this task: its doorbell tries again.
            self._counters.add(Count.CRASHED)
            log.exception(
                "storing_crashed", clip_id=key.clip, object=key.object.value, device=key.device
            )
            outcome = Failed(CRASH_RETRY_MS)
        with self._lock:
            self._storing -= 1
            transfer.receiver.credit = self._credit()
            if isinstance(outcome, NotHeard):
                self._counters.add(Count.DROPPED_UNKNOWN_SENDER)
                self._drop(key)
            elif isinstance(outcome, NotAnnounced):
                self._drop(key)
                self._refuse(key, Command.FIN, Code.PAUSE, Reason.CLIP_UNKNOWN)
            elif isinstance(outcome, Deleted):
                self._drop(key)
                self._refuse(key, Command.FIN, Code.NEVER, Reason.DELETED)
            else:
                self._carry_out(key, transfer, self._conclude(key, transfer, outcome))

    def _drop(self, key: SpoolKey) -> None:
        """Forget what was brought of an object that is not stored."""
        self._spool.discard(key)
        del self._transfers[key]

    def _conclude(
        self,
        key: SpoolKey,
        transfer: _Transfer,
        outcome: Stored | Mismatched | Conflicted | Failed,
    ) -> Iterable[ReceiverAction]:
        match outcome:
            case Stored(receipt):
                self._counters.add(Count.OBJECT_STORED)
                log.info(
                    "object_stored", clip_id=key.clip, object=key.object.value, device=key.device
                )
                transfer.receipt = receipt
                return transfer.receiver.stored()
            case Mismatched():
                return transfer.receiver.mismatched()
            case Conflicted():
                return transfer.receiver.conflicted()
            case Failed(retry_after_ms, fact):
                self._counters.add(Count.STORE_FAILED)
                log.warning(
                    "object_not_stored",
                    clip_id=key.clip,
                    object=key.object.value,
                    device=key.device,
                    fact=fact,
                )
                return transfer.receiver.store_failed(retry_after_ms)

    def _refuse(
        self,
        key: SpoolKey,
        command: Command,
        code: Code,
        reason: str = Reason.NONE,
        retry_after_ms: int = 0,
    ) -> None:
        reply = Reply(
            key.clip,
            key.object,
            Subject(command.value),
            code,
            reason=reason,
            retry_after_ms=retry_after_ms,
        )
        self._send_reply(key.device, reply)

    def _send_reply(self, device: DeviceId, reply: Reply) -> None:
        self._publish(str(DeviceTopic(device, Leaf.FILE_REPLY)), encode_reply(reply))

    def _send_receipt(self, device: DeviceId, transfer: _Transfer) -> None:
        if transfer.receipt is not None:
            ack = Ack(receipts=(decode_signed(transfer.receipt),))
            self._publish(str(DeviceTopic(device, Leaf.ACK)), ack.encode())


def _are_there(claimed: Ranges, written: int) -> bool:
    """Return whether a power cut left the bytes that the journal claims."""
    return all(end <= written for _, end in claimed.spans)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
