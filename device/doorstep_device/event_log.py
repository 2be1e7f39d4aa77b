"""The event log: rings and motions that the service has not acknowledged.

``outbox/events-N.log`` is append-only; `event_records` says what is in it. A torn end was
never promised to anybody, so it is cut off. When a log has grown to several times what
still waits, what waits is written whole into the next number, and the old log goes. So a
start reads one log, or two if a cut came in between: reading an event twice is reading it
once.

A log with damage in it costs the events that the damage touched. It is kept beside its
successor as ``events-N.log.unreadable``, for a person to look at. So that a dying card does
not fill itself, only the newest few of these stay.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from doorstep_device.clip_folder import OUTBOX, UNREADABLE
from doorstep_device.event_records import Put, Record, acked_records, encode_records, read_records
from doorstep_device.ports.disk import Disk, DiskBrokenError, PathMissingError
from doorstep_device.rules.eviction import MAX_WAITING_EVENTS, decide_dropped_events
from doorstep_shared.errors import TryLaterError
from doorstep_shared.ids import EventId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Event

EVENT_LOG: Final = re.compile(r"events-(\d{1,9})\.log")
_KEPT_LOG: Final = re.compile(EVENT_LOG.pattern + re.escape(UNREADABLE))
_ROTATE_BYTES: Final = 64 * 1024
# A log is below 4 MiB, whatever waits, and the outbox spares 8 MiB of the card for all of this.
MAX_KEPT_LOGS: Final = 8
MAX_KEPT_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that the service has not acknowledged."""

    kind: ClipKind
    event: Event


class EventLog:
    """Events that wait, in the order they came; what it takes is durable at once.

    Attributes:
        dropped: How many events were given up for want of room.
    """

    def __init__(self, disk: Disk, number: int, old: Iterable[int] = ()) -> None:
        self.dropped = 0
        self._disk: Final = disk
        self._number = number
        # Logs before it that are still there, the oldest first.
        self._old: Final = list(old)
        self._damaged: Final[set[int]] = set()
        self._pending: dict[EventId, PendingEvent] = {}
        self._size_bytes = 0
        self._rotate_at_bytes = _ROTATE_BYTES
        self._is_torn = False

    @classmethod
    def open(cls, disk: Disk) -> Self:
        """Return the log with what still waits; one that cannot be read whole is set aside."""
        logs = _numbers(disk, EVENT_LOG)
        # Beyond what was set aside, so that there is always a free name to set aside under.
        number = logs[-1] if logs else max(_numbers(disk, _KEPT_LOG), default=-1) + 1
        log = cls(disk, number, logs[:-1])
        for each in logs:
            log._load(each)
        if log._old or log._is_torn or log._damaged:
            log._is_torn = True
            # On a card that takes no writes, the next event tries again.
            with suppress(TryLaterError, DiskBrokenError):
                log._rotate()
        return log

    @property
    def pending(self) -> tuple[PendingEvent, ...]:
        """What waits, oldest first."""
        return tuple(self._pending.values())

    @property
    def count(self) -> int:
        """How many wait; any thread may ask."""
        return len(self._pending)

    @property
    def damaged(self) -> tuple[str, ...]:
        """Paths of logs that could not be read whole, nor set aside so far."""
        return tuple(_path(number) for number in sorted(self._damaged))

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
        for record in acked_records(acked):
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

    def _append(self, record: Record) -> None:
        if self._is_torn:
            self._rotate()
        data = encode_records([record])
        # Until the disk says it took all of it, what follows could stand behind a torn record.
        self._is_torn = True
        self._disk.append_synced(_path(self._number), data)
        self._is_torn = False
        self._size_bytes += len(data)

    def _rotate_if_long(self) -> None:
        if self._size_bytes >= self._rotate_at_bytes:
            self._rotate()

    def _rotate(self) -> None:
        """Write what waits into the next log, whole; then let go of those before it."""
        data = encode_records(_put_record(waiting) for waiting in self._pending.values())
        self._disk.write_whole(_path(self._number + 1), data)
        self._old.append(self._number)
        self._number += 1
        self._size_bytes = len(data)
        # So that each byte is rewritten a few times at most, however many events wait.
        self._rotate_at_bytes = 2 * len(data) + _ROTATE_BYTES
        self._is_torn = False
        # Oldest first: an acknowledgement never goes before the event it is for.
        while self._old:
            # One that found no room at all never was.
            with suppress(PathMissingError):
                self._let_go(self._old[0])
            self._old.pop(0)

    def _let_go(self, number: int) -> None:
        if number not in self._damaged:
            self._disk.remove(_path(number))
            return
        self._disk.rename(_path(number), _path(number) + UNREADABLE)
        self._damaged.remove(number)
        self._drop_oldest_kept()

    def _drop_oldest_kept(self) -> None:
        """Remove damaged logs beyond what may stay; the newest one always does."""
        kept_bytes = 0
        for rank, number in enumerate(reversed(_numbers(self._disk, _KEPT_LOG))):
            path = _path(number) + UNREADABLE
            with self._disk.open(path) as file:
                kept_bytes += file.size()
            if rank and (rank >= MAX_KEPT_LOGS or kept_bytes > MAX_KEPT_BYTES):
                self._disk.remove(path)

    def _load(self, number: int) -> None:
        """Take in what can be read of one log."""
        try:
            data = self._disk.read(_path(number))
        except DiskBrokenError:
            self._damaged.add(number)
            return
        reading = read_records(data)
        for record in reading.records:
            self._take_in(record)
        self._size_bytes = len(data)
        self._is_torn |= reading.is_torn
        if reading.is_damaged:
            self._damaged.add(number)

    def _take_in(self, record: Record) -> None:
        if record.put is not None:
            waiting = PendingEvent(record.put.kind, record.put.event)
            self._pending.setdefault(waiting.event.event, waiting)
        for event in record.acked or ():
            self._pending.pop(event, None)


def _path(number: int) -> str:
    return f"{OUTBOX}/events-{number}.log"


def _put_record(waiting: PendingEvent) -> Record:
    return Record(put=Put(kind=waiting.kind, event=waiting.event))


def _numbers(disk: Disk, name: re.Pattern[str]) -> list[int]:
    """Return the numbers of the files of such a ``name``, the oldest first."""
    return sorted(
        int(match[1]) for entry in disk.list_dir(OUTBOX) if (match := name.fullmatch(entry))
    )
