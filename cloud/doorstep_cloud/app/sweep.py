"""Sweeps, both ways: what is stored and not known, what is known and not stored.

What a sweep thinks it has found it looks up once more before it acts, for the service goes
on meanwhile.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from doorstep_cloud.app.jobs import drop_commands, drop_tombstones
from doorstep_cloud.clips.deleter import BATCH, Deleter
from doorstep_cloud.clips.deletion import (
    clips_without_envelope,
    drop_envelopes,
    envelopes_of_nobody,
    find_tombstone,
    owner_of_clip,
)
from doorstep_cloud.clips.service import OBJECTS, is_stored, parse_object_key, stored_keys
from doorstep_cloud.households.retention import DAY_MS, Reading
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.objects import ListedObject, ObjectMissingError, ObjectStore
from doorstep_cloud.store.passes import forget_found, found_since, note_found, note_pass
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId

GRACE_MS: Final = DAY_MS
"""What is younger may be on its way."""

MOST_NAMED: Final = 1000
"""Of what is only told, so many are named in a report."""

SWEEP: Final = "sweep"
LOST_SINCE: Final = "envelopes-lost-since:"
"""Under this name and a clip's it is kept since when sweeps find that nobody can open it."""

_Item = TypeVar("_Item")

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SweepReport:
    """What a sweep found and did.

    Attributes:
        is_clock_believed: If not, nothing was deleted for its age.
        envelopes_of_tombstones: Clips whose envelopes were still there, and were deleted.
        envelopes_of_nobody: Clips that main does not know, whose envelopes were deleted.
        objects_of_tombstones: Objects deleted because their clip was.
        objects_of_nobody: Objects deleted because nothing is known of their clip.
        objects_left: Such that are too young to be deleted, or of no form of ours.
        objects_missing: Keys of objects that are stored by the tables, and are not there.
        objects_missing_in_all: How many they are, should not all be named.
        clips_without_envelope: Clips nobody can open any more; tombstones a day later.
        clips_given_up: Such that became tombstones now.
        spool_leftovers: Payloads that nobody waited for, removed from the spool.
        tombstones_dropped: Older than 400 days.
    """

    is_clock_believed: bool = True
    envelopes_of_tombstones: int = 0
    envelopes_of_nobody: int = 0
    objects_of_tombstones: int = 0
    objects_of_nobody: int = 0
    objects_left: int = 0
    objects_missing: list[str] = field(default_factory=list)
    objects_missing_in_all: int = 0
    clips_without_envelope: int = 0
    clips_given_up: int = 0
    spool_leftovers: int = 0
    tombstones_dropped: int = 0


class Sweeper:
    """Sweeps, one at a time. Safe to use from any thread.

    Args:
        databases: Migrated.
        objects: Where payloads are.
        deleter: Deletes clips.
        sweep_spool: Removes from the spool what nobody waits for, and returns how many.
        look_at_clock: Says what time it is for a whole sweep, and whether things go by age.
        go_on: Raises where a sweep is to be broken off; asked between units of work.
    """

    def __init__(
        self,
        databases: Databases,
        objects: ObjectStore,
        deleter: Deleter,
        *,
        sweep_spool: Callable[[], int],
        look_at_clock: Callable[[], Reading],
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._databases = databases
        self._objects = objects
        self._deleter = deleter
        self._sweep_spool = sweep_spool
        self._look_at_clock = look_at_clock
        self._go_on = go_on
        self._lock = threading.Lock()

    def sweep(self) -> SweepReport:
        """Sweep everything once; return what was found and done.

        Raises:
            TryLaterError: A database or the store is away, or the service ends; what was done
                stays done.
        """
        with self._lock:
            reading = self._look_at_clock()
            now, report = reading.now_ms, SweepReport(is_clock_believed=reading.is_believed)
            report.spool_leftovers = self._sweep_spool()
            report.envelopes_of_tombstones = self._deleter.forget_envelopes()
            if report.is_clock_believed:
                self._sweep_vault(report, now)
                report.tombstones_dropped = drop_tombstones(self._databases, now)
                drop_commands(self._databases, now)
            self._sweep_clips(report, now)
            self._sweep_objects(report, now)
            with self._databases.write() as unit:
                note_pass(unit, SWEEP, now)
                unit.commit()
            _tell(report)
            return report

    def _sweep_vault(self, report: SweepReport, now: int) -> None:
        """Delete envelopes that came a day ago and never got their clip."""

        def of_nobody(unit: Unit, after: str) -> tuple[list[ClipId], str | None]:
            return envelopes_of_nobody(unit, now - GRACE_MS, after, BATCH)

        for clips in self._batches(of_nobody):
            with self._databases.write() as unit:
                gone = [clip for clip in clips if owner_of_clip(unit, clip) is None]
                drop_envelopes(unit, gone)
                unit.commit()
            report.envelopes_of_nobody += len(gone)
        if report.envelopes_of_nobody:
            self._databases.forget_deleted()

    def _sweep_clips(self, report: SweepReport, now: int) -> None:
        """Give up clips that nobody can open, once that has been so for a day.

        A vault that was lost, or is not put back yet, looks like that: it is the finding
        that has to be old, each clip's on its own, and not the clips.
        """

        def unopened(unit: Unit, after: str) -> tuple[list[ClipId], str | None]:
            return clips_without_envelope(unit, now, after, BATCH)

        lost = [clip for clips in self._batches(unopened) for clip in clips]
        report.clips_without_envelope = len(lost)
        with self._databases.read() as unit:
            since = found_since(unit, LOST_SINCE)
        for names in batched(sorted(since.keys() - set(lost))):
            with self._databases.write() as unit:
                forget_found(unit, LOST_SINCE, names)
                unit.commit()
        if not report.is_clock_believed:
            return
        for clips in batched([clip for clip in lost if clip not in since]):
            with self._databases.write() as unit:
                note_found(unit, LOST_SINCE, clips, now)
                unit.commit()
        old = [clip for clip in lost if now - since.get(clip, now) >= GRACE_MS]
        for clips in batched(old):
            self._go_on()
            report.clips_given_up += self._deleter.give_up(clips, now)

    def _sweep_objects(self, report: SweepReport, now: int) -> None:
        for item in differences(self._objects.listed(OBJECTS), self._rows(now)):
            self._go_on()
            if isinstance(item, ListedObject):
                self._unknown(item, report, now)
            elif self._is_missing(item):
                report.objects_missing_in_all += 1
                report.objects_missing += [item][: MOST_NAMED - len(report.objects_missing)]

    def _unknown(self, item: ListedObject, report: SweepReport, now: int) -> None:
        """Delete an object that no row names, if it may be deleted."""
        try:
            clip, _ = parse_object_key(item.key)
        except BadMessageError:
            report.objects_left += 1
            return
        with self._databases.read() as unit:
            is_dead = find_tombstone(unit, clip) is not None
            is_known = owner_of_clip(unit, clip) is not None
        is_old = report.is_clock_believed and now - item.stored_at_ms >= GRACE_MS
        if is_dead:
            self._objects.delete(item.key)
            report.objects_of_tombstones += 1
        elif not is_known and is_old:
            self._objects.delete(item.key)
            report.objects_of_nobody += 1
        else:
            report.objects_left += 1

    def _is_missing(self, key: str) -> bool:
        """Return whether an object is not there, although it is stored by the tables even now."""
        clip, name = parse_object_key(key)
        with self._databases.read() as unit:
            if not is_stored(unit, clip, name):
                return False
        try:
            self._objects.sha256_of(key)
        except ObjectMissingError:
            return True
        return False

    def _rows(self, until: int) -> Iterator[str]:
        """Yield the keys of objects stored until ``until`` by the tables, in order."""
        after: str | None = ""
        while after is not None:
            self._go_on()
            with self._databases.read() as unit:
                keys, after = stored_keys(unit, until, after, BATCH)
            yield from keys

    def _batches(
        self, find: Callable[[Unit, str], tuple[list[ClipId], str | None]]
    ) -> Iterator[list[ClipId]]:
        after: str | None = ""
        while after is not None:
            self._go_on()
            with self._databases.read() as unit:
                clips, after = find(unit, after)
            if clips:
                yield clips


def batched(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Yield ``items`` in order, as many at a time as a unit of work takes."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def differences(
    listed: Iterator[ListedObject], known: Iterator[str]
) -> Iterator[ListedObject | str]:
    """Yield what is listed and not known, and the keys known and not listed.

    Both in the order of keys; what is out of order may be yielded though it is on both
    sides, and is never passed over.
    """
    item, key = next(listed, None), next(known, None)
    while item is not None or key is not None:
        if item is not None and (key is None or item.key < key):
            yield item
            item = next(listed, None)
        elif key is not None and (item is None or key < item.key):
            yield key
            key = next(known, None)
        else:
            item, key = next(listed, None), next(known, None)


def _tell(report: SweepReport) -> None:
    facts = {
        name: value
        for name in SweepReport.__dataclass_fields__
        if isinstance(value := getattr(report, name), int)
    }
    if report.objects_missing_in_all or report.clips_without_envelope:
        _log.error("swept_and_missed_something", **facts)
    else:
        _log.info("swept", **facts)
