"""The event log: rings and motions that the service has not acknowledged.

``outbox/events-N.log`` is append-only. A record, numbers big-endian:

    length    u32   of the JSON
    crc32c    u32   of the JSON
    JSON            {"put": {"kind": …, "event": …}} or {"acked": [id, …]}

A torn tail was never promised to anybody, so it is cut off. When a log has grown to
several times what still waits, what waits is written whole into the next number, and the
old log goes. So a start reads one log, or two if a cut came in between: reading an event
twice is reading it once.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from doorstep_device.clip_folder import OUTBOX, UNREADABLE
from doorstep_device.ports.disk import Disk, DiskBrokenError
from doorstep_device.rules.eviction import MAX_WAITING_EVENTS, decide_dropped_events
from doorstep_shared.crc32c import crc32c
from doorstep_shared.errors import TryLaterError
from doorstep_shared.fields import EventIdField
from doorstep_shared.ids import EventId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Event

EVENT_LOG: Final = re.compile(r"events-(\d{1,9})\.log")
_HEAD_BYTES: Final = 8
_MAX_JSON_BYTES: Final = 8 * 1024
# 64 ids are 2.5 KB of JSON.
_ACKS_PER_RECORD: Final = 64
_ROTATE_BYTES: Final = 64 * 1024
# A cut tears one append, which is one record.
_MAX_TORN_BYTES: Final = _HEAD_BYTES + _MAX_JSON_BYTES


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Put(_Entry):
    kind: ClipKind
    event: Event


class _Record(_Entry):
    put: _Put | None = None
    acked: tuple[EventIdField, ...] | None = None


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that the service has not acknowledged."""

    kind: ClipKind
    event: Event


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one log holds.

    Attributes:
        records: The whole ones from its beginning.
        left_bytes: What follows them.
    """

    records: tuple[_Record, ...]
    left_bytes: int


class EventLog:
    """Events that wait, in the order they came; what it takes is durable at once.

    Attributes:
        dropped: How many events were given up for want of room.
    """

    def __init__(self, disk: Disk, number: int) -> None:
        self.dropped = 0
        self._disk: Final = disk
        self._number = number
        self._pending: dict[EventId, PendingEvent] = {}
        self._size_bytes = 0
        self._rotate_at_bytes = _ROTATE_BYTES
        self._is_torn = False

    @classmethod
    def open(cls, disk: Disk) -> Self:
        """Return the log with what still waits; one that cannot be read is set aside."""
        numbers = sorted(
            int(match[1]) for name in disk.list_dir(OUTBOX) if (match := EVENT_LOG.fullmatch(name))
        )
        log = cls(disk, numbers[-1] if numbers else 0)
        broken = [number for number in numbers if not log._load(number)]
        if len(numbers) > 1 or log._is_torn or broken:
            log._is_torn = True
            # On a card that takes no writes, the next event tries again.
            with suppress(TryLaterError, DiskBrokenError):
                log._rotate(numbers, broken)
        return log

    @property
    def pending(self) -> tuple[PendingEvent, ...]:
        """What waits, oldest first."""
        return tuple(self._pending.values())

    @property
    def count(self) -> int:
        """How many wait; any thread may ask."""
        return len(self._pending)

    def put(self, kind: ClipKind, event: Event) -> None:
        """Keep an event; durable on return. One that waits already is left as it is."""
        if event.event in self._pending:
            return
        waiting = PendingEvent(kind, event)
        self._append(_put_record(waiting))
        self._pending[event.event] = waiting
        self._drop_excess()
        self._rotate_if_long()

    def forget(self, events: Iterable[EventId]) -> None:
        """Forget acknowledged events; durable on return. Unknown ones are passed over."""
        acked = [event for event in dict.fromkeys(events) if event in self._pending]
        if not acked:
            return
        for record in _acked_records(acked):
            self._append(record)
            self._take_in(record)
        self._rotate_if_long()

    def _drop_excess(self) -> None:
        if len(self._pending) <= MAX_WAITING_EVENTS:
            return
        kinds = [(event, waiting.kind) for event, waiting in self._pending.items()]
        dropped = decide_dropped_events(kinds, MAX_WAITING_EVENTS)
        self.dropped += len(dropped)
        self.forget(dropped)

    def _append(self, record: _Record) -> None:
        if self._is_torn:
            self._rotate([self._number], [])
        data = _encode(record)
        # Until the disk says it took all of it, what follows could stand behind a torn record.
        self._is_torn = True
        self._disk.append_synced(_path(self._number), data)
        self._is_torn = False
        self._size_bytes += len(data)

    def _rotate_if_long(self) -> None:
        if self._size_bytes >= self._rotate_at_bytes:
            self._rotate([self._number], [])

    def _rotate(self, old: Iterable[int], broken: Iterable[int]) -> None:
        """Write what waits into the next log, whole; then let go of the ``old`` ones."""
        data = b"".join(_encode(_put_record(waiting)) for waiting in self._pending.values())
        self._disk.write_whole(_path(self._number + 1), data)
        self._number += 1
        self._size_bytes = len(data)
        # So that each byte is rewritten a few times at most, however many events wait.
        self._rotate_at_bytes = 2 * len(data) + _ROTATE_BYTES
        self._is_torn = False
        # Oldest first: an acknowledgement never goes before the event it is for.
        for number in sorted(old):
            if number not in broken:
                self._disk.remove(_path(number))
                continue
            self._disk.rename(_path(number), _path(number) + UNREADABLE)

    def _load(self, number: int) -> bool:
        """Take in one log; return whether all of it could be read, a torn tail apart."""
        try:
            data = self._disk.read(_path(number))
        except DiskBrokenError:
            return False
        reading = _read(data)
        for record in reading.records:
            self._take_in(record)
        self._size_bytes = len(data)
        is_torn = 0 < reading.left_bytes <= _MAX_TORN_BYTES
        self._is_torn |= is_torn
        return is_torn or not reading.left_bytes

    def _take_in(self, record: _Record) -> None:
        if record.put is not None:
            waiting = PendingEvent(record.put.kind, record.put.event)
            self._pending.setdefault(waiting.event.event, waiting)
        for event in record.acked or ():
            self._pending.pop(event, None)


def _path(number: int) -> str:
    return f"{OUTBOX}/events-{number}.log"


def _put_record(waiting: PendingEvent) -> _Record:
    return _Record(put=_Put(kind=waiting.kind, event=waiting.event))


def _acked_records(events: list[EventId]) -> Iterator[_Record]:
    for start in range(0, len(events), _ACKS_PER_RECORD):
        yield _Record(acked=tuple(events[start : start + _ACKS_PER_RECORD]))


def _encode(record: _Record) -> bytes:
    data = record.model_dump_json(exclude_none=True).encode()
    return len(data).to_bytes(4, "big") + crc32c(data).to_bytes(4, "big") + data


def _read(data: bytes) -> _Reading:
    records = []
    offset = 0
    while offset + _HEAD_BYTES <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        crc = int.from_bytes(data[offset + 4 : offset + 8], "big")
        body = data[offset + _HEAD_BYTES :][:length]
        if length > _MAX_JSON_BYTES or len(body) < length or crc32c(body) != crc:
            break
        try:
            records.append(_Record.model_validate_json(body))
        except ValidationError:
            break
        offset += _HEAD_BYTES + length
    return _Reading(tuple(records), len(data) - offset)
