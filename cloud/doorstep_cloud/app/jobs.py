"""What the worker does now and then: plain functions, each ending its own units of work."""

import threading
from collections.abc import Callable
from typing import Final

import structlog

from doorstep_cloud.clips.deleter import BATCH, Deleter
from doorstep_cloud.clips.deletion import forget_tombstones, newest_announcement
from doorstep_cloud.devices.commands import prune_commands
from doorstep_cloud.events.service import MOST_DELETED, delete_events, events_over
from doorstep_cloud.households.preferences import retention_of_all
from doorstep_cloud.households.retention import Reading, Watch
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.passes import last_pass, note_pass
from doorstep_shared.ids import HouseholdId

EXPIRE: Final = "expire"
"""Under this name it is kept when things last went by age."""

_log = structlog.get_logger(__name__)


class Expiry:
    """What goes by age, while the service's clock is believed. Safe to use from any thread.

    Args:
        databases: Migrated.
        deleter: Deletes the clips.
        now_ms: The service's wall clock, Unix milliseconds.
        monotonic_s: Of this process.
        go_on: Raises where a pass is to be broken off; asked between units of work.
    """

    def __init__(
        self,
        databases: Databases,
        deleter: Deleter,
        now_ms: Callable[[], int],
        monotonic_s: Callable[[], float],
        *,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        self._databases = databases
        self._deleter = deleter
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self._go_on = go_on
        self._watch = Watch()
        self._lock = threading.Lock()

    @property
    def is_held(self) -> bool:
        """Return whether nothing goes by age now, since the clock may be wrong."""
        return not self._watch.is_believed

    def look_at_clock(self) -> Reading:
        """Return what the clock says, and whether it is believed when it says things are old.

        Who acts on it goes by this reading to the end: the clock may jump at any moment.
        """
        with self._lock:
            before = self._watch
            with self._databases.read() as unit:
                last = last_pass(unit, EXPIRE)
                last = newest_announcement(unit) if last is None else last
            now = self._now_ms()
            self._watch = before.look(last, now, self._monotonic_s())
            if before.is_believed and not self._watch.is_believed:
                _log.warning("expiry_held", reason="the clock jumped, or the service was off")
            elif self._watch.is_believed and not before.is_believed:
                _log.info("expiry_goes_on")
            return Reading(now, self._watch.is_believed)

    def run(self) -> None:
        """Delete the clips and events that were kept for as long as their household wants.

        Raises:
            TryLaterError: The database is away, or the service ends; what went is gone, the
                rest waits.
        """
        reading = self.look_at_clock()
        if not reading.is_believed:
            return
        with self._databases.read() as unit:
            days_of = retention_of_all(unit)
        clips = events = 0
        for household, days in days_of.items():
            clips += self._deleter.expire(household, days, reading.now_ms, go_on=self._go_on)
            events += self._expire_events(household, days, reading.now_ms)
        if clips:
            self._deleter.forget_envelopes()
        with self._databases.write() as unit:
            note_pass(unit, EXPIRE, reading.now_ms)
            unit.commit()
        if clips or events:
            _log.info("expired", clips=clips, events=events)

    def _expire_events(self, household: HouseholdId, days: int, now: int) -> int:
        count = 0
        while True:
            self._go_on()
            with self._databases.read() as unit:
                over = events_over(unit, household, days, now)
            if over:
                with self._databases.write() as unit:
                    delete_events(unit, over)
                    unit.commit()
            count += len(over)
            if len(over) < MOST_DELETED:
                return count


def drop_commands(databases: Databases, now: int) -> int:
    """Forget what doorbells were told to do weeks ago; return how many commands that were."""
    with databases.write() as unit:
        dropped = prune_commands(unit, now)
        unit.commit()
    return dropped


def drop_tombstones(databases: Databases, now: int) -> int:
    """Remove what nobody needs to be told any more; return how many tombstones that were."""
    count = 0
    while True:
        with databases.write() as unit:
            dropped = forget_tombstones(unit, now, BATCH)
            unit.commit()
        count += dropped
        if dropped < BATCH:
            return count
