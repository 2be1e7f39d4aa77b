"""Events: taken once, listed newest first. Nothing here ends a unit of work."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import and_, delete, func, or_, select, tuple_

from doorstep_cloud.events.paging import ListQuery, Page, Place
from doorstep_cloud.events.rules import EventItem
from doorstep_cloud.events.tables import ClipEventRow, EventRow
from doorstep_cloud.households.retention import oldest_kept
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import ConflictError
from doorstep_shared.ids import ClipId, DeviceId, EventId, HouseholdId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Alert, Event

MOST_DELETED: Final = 200
"""Events deleted in one unit of work: rings wait for no longer. Who deletes more asks again."""

RESUMED_ITEMS: Final = 500
"""How many missed events a listener is told at most when it comes back."""


def record_event(
    unit: Unit, household: HouseholdId, device: DeviceId, kind: ClipKind, event: Event, *, now: int
) -> EventItem | None:
    """Take an event of a household's doorbell; None if it was taken before.

    Args:
        unit: A write unit.
        household: The doorbell's, by its enrolment.
        device: Who sent it, by the broker's word.
        kind: What the topic said.
        event: What the message said.
        now: Unix milliseconds by the service's clock.

    Raises:
        ConflictError: This doorbell sent another event under the same id.
    """
    row = EventRow(
        device=device,
        id=event.event,
        household=household,
        kind=kind.value,
        alert=event.alert.value,
        at_ms=event.at,
        clock_synced=event.clock_synced,
        received_at_ms=now,
    )
    before = unit.main.get(EventRow, (device, event.event))
    if before is None:
        row.place = _last_place(unit, household) + 1
        unit.main.add(row)
        # So that the same event, again in this very unit, is found.
        unit.main.flush()
        return _item(row, None)
    if _told(before) != _told(row):
        raise ConflictError("another event has this id already", safe="The first one is kept.")
    return None


def link_clip(unit: Unit, device: DeviceId, clip: ClipId, events: Iterable[EventId]) -> None:
    """Keep which events a newly announced clip shows."""
    unit.main.add_all(ClipEventRow(clip=clip, event=event, device=device) for event in events)


def unlink_clips(unit: Unit, clips: Sequence[ClipId]) -> None:
    """Forget which events ``clips`` show; the events stay."""
    unit.main.execute(delete(ClipEventRow).where(ClipEventRow.clip.in_(clips)))


def events_over(
    unit: Unit, household: HouseholdId, days: int, now: int
) -> Sequence[tuple[DeviceId, EventId]]:
    """Return whose and which events of a household were kept for ``days``; at most 200.

    It may look at every event of the household, so that it is asked in a read unit.
    """
    oldest = oldest_kept(now, days)
    # `counted_from` as a condition: either time is early enough, if the doorbell's counts.
    happened = and_(
        EventRow.clock_synced,
        EventRow.at_ms <= EventRow.received_at_ms,
        EventRow.at_ms <= oldest,
    )
    query = (
        select(EventRow.device, EventRow.id)
        .where(EventRow.household == household, or_(EventRow.received_at_ms <= oldest, happened))
        .limit(MOST_DELETED)
    )
    return [(DeviceId(device), EventId(event)) for device, event in unit.main.execute(query)]


def delete_events(unit: Unit, events: Sequence[tuple[DeviceId, EventId]]) -> None:
    """Delete events, each named by its doorbell's id and its own.

    A clip that shows one and is kept for longer still names its id, as its manifest does.
    """
    unit.main.execute(delete(EventRow).where(tuple_(EventRow.device, EventRow.id).in_(events)))


def events_of_clips(unit: Unit, clips: Sequence[ClipId]) -> Mapping[ClipId, list[EventId]]:
    """Return the ids of the events that each of ``clips`` shows, in order."""
    query = select(ClipEventRow).where(ClipEventRow.clip.in_(clips)).order_by(ClipEventRow.event)
    found: defaultdict[ClipId, list[EventId]] = defaultdict(list)
    for row in unit.main.scalars(query):
        found[ClipId(row.clip)].append(EventId(row.event))
    return found


def list_events(unit: Unit, household: HouseholdId, query: ListQuery) -> Page[EventItem]:
    """Return one page of a household's events, the latest first by the doorbells' clocks."""
    conditions = query.conditions(
        kind=EventRow.kind, device=EventRow.device, at=EventRow.at_ms, id_=EventRow.id
    )
    statement = (
        select(EventRow)
        .where(EventRow.household == household, *conditions)
        .order_by(EventRow.at_ms.desc(), EventRow.id.desc())
        .limit(query.limit + 1)
    )
    rows = unit.main.scalars(statement).all()
    shown = rows[: query.limit]
    last = shown[-1] if len(rows) > query.limit else None
    place = None if last is None else Place(last.at_ms, last.id)
    return Page(_items(unit, shown), place)


def events_after(unit: Unit, household: HouseholdId, last: EventId) -> Sequence[EventItem]:
    """Return what a listener missed after ``last``, in the order it was taken; at most 500.

    A listener whose last event is unknown here has missed nothing that can be told.
    """
    of_household = EventRow.household == household
    # Two doorbells may draw the same id: better told twice than missed.
    heard = select(func.min(EventRow.place)).where(of_household, EventRow.id == last)
    if (place := unit.main.scalar(heard)) is None:
        return ()
    statement = (
        select(EventRow)
        .where(of_household, EventRow.place > place)
        .order_by(EventRow.place.desc())
        .limit(RESUMED_ITEMS)
    )
    return _items(unit, tuple(reversed(unit.main.scalars(statement).all())))


def _last_place(unit: Unit, household: HouseholdId) -> int:
    newest = select(func.max(EventRow.place)).where(EventRow.household == household)
    return unit.main.scalar(newest) or 0


def _items(unit: Unit, rows: Sequence[EventRow]) -> list[EventItem]:
    keys = [(row.device, row.id) for row in rows]
    statement = (
        select(ClipEventRow)
        .where(tuple_(ClipEventRow.device, ClipEventRow.event).in_(keys))
        # Ids of clips sort by when they were begun; the first part comes last and stays.
        .order_by(ClipEventRow.clip.desc())
    )
    clips = {(row.device, row.event): ClipId(row.clip) for row in unit.main.scalars(statement)}
    return [_item(row, clips.get((row.device, row.id))) for row in rows]


def _item(row: EventRow, clip: ClipId | None) -> EventItem:
    return EventItem(
        id=EventId(row.id),
        kind=ClipKind(row.kind),
        device=DeviceId(row.device),
        at_ms=row.at_ms,
        received_at_ms=row.received_at_ms,
        clock_synced=row.clock_synced,
        alert=Alert(row.alert),
        clip=clip,
    )


def _told(row: EventRow) -> EventItem:
    return replace(_item(row, None), received_at_ms=0)
