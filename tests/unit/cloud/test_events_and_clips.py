"""Events and clips in the database: taken once, listed newest first."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError
from sqlalchemy import select

from doorstep_cloud.clips.deletion import ClipDeletedError
from doorstep_cloud.clips.service import (
    announce,
    find_object,
    find_sealed,
    household_of_clip,
    latest_stored,
    list_clips,
    read_clip,
    read_manifest_bytes,
    record_stored,
)
from doorstep_cloud.clips.tables import ClipRow, EnvelopeRow
from doorstep_cloud.events.paging import ListQuery
from doorstep_cloud.events.rules import EventItem
from doorstep_cloud.events.service import events_after, list_events, record_event
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.errors import ConflictError
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_shared.wire import Event
from tests.people import HOUSEHOLD, NOW_MS, doorbell, epoch_identity
from tests.scripted_doorbell import Clip, make_clip, make_event, resigned

FRONT = doorbell("front")
BACK = doorbell("back")
OTHER = HouseholdId("x" * 26)
RECIPIENT = epoch_identity(1).recipient()


@pytest.fixture
def unit(databases: Databases) -> Iterator[Unit]:
    with databases.write() as opened:
        yield opened


def record(
    unit: Unit, event: Event, *, now: int = NOW_MS, kind: ClipKind = ClipKind.RING
) -> EventItem | None:
    return record_event(unit, HOUSEHOLD, FRONT.device.id, kind, event, now=now)


def clip_of(seed: int = 0, **changes: object) -> Clip:
    return make_clip(
        FRONT, HOUSEHOLD, RECIPIENT, seed=seed, sizes=dict.fromkeys(ObjectName, 50), **changes
    )


def keep(unit: Unit, clip: Clip) -> None:
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)


def store(unit: Unit, clip: Clip, *names: ObjectName) -> None:
    for name in names or ObjectName:
        record_stored(unit, clip.id, name, b"receipt", NOW_MS + 1)


def test_an_event_is_taken_once(unit: Unit) -> None:
    event = make_event(NOW_MS)
    first = record(unit, event)
    assert first is not None
    assert first.id == event.event
    assert record(unit, event, now=NOW_MS + 5) is None
    assert len(list_events(unit, HOUSEHOLD, ListQuery()).items) == 1


def test_another_event_of_the_same_id_is_a_conflict(unit: Unit) -> None:
    event = make_event(NOW_MS)
    record(unit, event)
    with pytest.raises(ConflictError):
        record(unit, event.model_copy(update={"at": NOW_MS + 1}))
    with pytest.raises(ConflictError):
        record(unit, event, kind=ClipKind.MOTION)


def test_two_doorbells_may_draw_the_same_id(unit: Unit) -> None:
    event = make_event(NOW_MS)
    record(unit, event)
    theirs = record_event(unit, OTHER, BACK.device.id, ClipKind.MOTION, event, now=NOW_MS)
    assert theirs is not None
    assert [item.device for item in list_events(unit, HOUSEHOLD, ListQuery()).items] == [
        FRONT.device.id
    ]


def test_events_are_listed_page_by_page_newest_first(unit: Unit) -> None:
    # Three of one millisecond: the id breaks the tie.
    events = [make_event(NOW_MS + seed // 3, seed) for seed in range(7)]
    # They arrive the other way round, as after a night without network.
    for event in reversed(events):
        record(unit, event, now=NOW_MS + 1000)
    listed = []
    query = ListQuery(limit=2)
    while True:
        page = list_events(unit, HOUSEHOLD, query)
        listed += [item.id for item in page.items]
        if page.next is None:
            break
        query = ListQuery(limit=2, cursor=str(page.next))
    order = sorted(range(7), key=lambda n: (n // 3, events[n].event), reverse=True)
    assert listed == [events[n].event for n in order]


def test_events_are_found_by_kind_doorbell_and_time(unit: Unit) -> None:
    ring, motion = make_event(NOW_MS, 1), make_event(NOW_MS + 1000, 2)
    record(unit, motion, now=NOW_MS + 2000, kind=ClipKind.MOTION)
    record(unit, ring, now=NOW_MS + 3000)

    def found(**asked: object) -> list[str]:
        query = ListQuery.model_validate(asked)
        return [item.id for item in list_events(unit, HOUSEHOLD, query).items]

    later = (NOW_MS + 1000) / 1000
    assert found(kind="ring") == [ring.event]
    assert found(device=FRONT.device.id) == [motion.event, ring.event]
    assert found(device=BACK.device.id) == []
    assert found(since=later) == [motion.event]
    assert found(until=later) == [ring.event]


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": 201},
        {"cursor": "1"},
        {"cursor": "99999999999999999.x"},
        {"kind": "doorbell"},
        {"since": "2026-01-01T00:00:00"},
        {"colour": "red"},
    ],
)
def test_a_list_is_asked_only_what_it_knows(asked: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ListQuery.model_validate(asked)


def test_a_listener_that_comes_back_hears_what_it_missed_in_order(unit: Unit) -> None:
    events = [make_event(NOW_MS, seed) for seed in range(4)]
    for number, event in enumerate(events):
        record(unit, event, now=NOW_MS + number)
    missed = events_after(unit, HOUSEHOLD, events[1].event)
    assert [item.id for item in missed] == [events[2].event, events[3].event]
    assert events_after(unit, HOUSEHOLD, make_event(NOW_MS, 99).event) == ()
    assert events_after(unit, OTHER, events[1].event) == ()


def test_after_an_id_that_two_doorbells_drew_nothing_is_missed(unit: Unit) -> None:
    events = [make_event(NOW_MS, seed) for seed in range(2)]
    for event in events:
        record(unit, event)
    record_event(unit, HOUSEHOLD, BACK.device.id, ClipKind.RING, events[0], now=NOW_MS)
    missed = events_after(unit, HOUSEHOLD, events[0].event)
    assert [item.id for item in missed] == [events[1].event, events[0].event]


def test_an_event_names_the_first_clip_that_shows_it_whichever_came_first(unit: Unit) -> None:
    event = make_event(NOW_MS)
    second = clip_of(2, events=(event.event,), part=2)
    first = clip_of(1, events=(event.event,), part=1)
    keep(unit, second)
    record(unit, event)
    keep(unit, first)
    assert [item.clip for item in list_events(unit, HOUSEHOLD, ListQuery()).items] == [first.id]
    assert read_clip(unit, second.id).events == [event.event]


def test_another_doorbells_clip_does_not_show_our_event(unit: Unit) -> None:
    event = make_event(NOW_MS)
    record(unit, event)
    keep(unit, make_clip(BACK, OTHER, RECIPIENT, events=(event.event,)))
    assert [item.clip for item in list_events(unit, HOUSEHOLD, ListQuery()).items] == [None]


def test_an_announced_clip_is_kept_in_both_databases(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    item = read_clip(unit, clip.id)
    assert (item.id, item.device, item.stored_at_ms) == (clip.id, FRONT.device.id, None)
    assert item.events == list(clip.manifest.events)
    assert {name: found.is_stored for name, found in item.objects.items()} == dict.fromkeys(
        ObjectName, False
    )
    assert read_manifest_bytes(unit, clip.id) == clip.signed.encode()
    assert household_of_clip(unit, clip.id) == HOUSEHOLD


def test_the_same_announcement_again_changes_nothing(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    store(unit, clip)
    keep(unit, clip)
    assert read_clip(unit, clip.id).stored_at_ms == NOW_MS + 1


def lose_vault(unit: Unit, clip: Clip, *names: ObjectName) -> None:
    for name in names or ObjectName:
        unit.vault.delete(unit.vault.get_one(EnvelopeRow, (clip.id, name.value)))
    unit.vault.flush()


def test_the_same_announcement_again_brings_back_the_envelopes_that_are_missing(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    store(unit, clip)
    lose_vault(unit, clip, ObjectName.FILE, ObjectName.DETAILS)
    keep(unit, clip)
    for name, box in clip.boxes.items():
        sealed = find_sealed(unit, clip.id, name)
        assert sealed is not None
        assert sealed.envelope == box.envelope


def test_an_envelope_that_is_here_is_not_written_again(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    envelopes = dict.fromkeys(clip.boxes, b"another")
    announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
    row = unit.vault.get_one(EnvelopeRow, (clip.id, "file"))
    assert row.envelope == clip.boxes[ObjectName.FILE].envelope


def test_a_deleted_clip_gets_no_envelope_back(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    lose_vault(unit, clip)
    unit.main.get_one(ClipRow, clip.id).deleted_at_ms = NOW_MS
    with pytest.raises(ClipDeletedError):
        keep(unit, clip)
    unit.vault.flush()
    assert unit.vault.scalars(select(EnvelopeRow)).all() == []


def test_an_object_without_its_envelope_is_to_be_announced_again(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    store(unit, clip)
    lose_vault(unit, clip, ObjectName.FILE)
    device = FRONT.device.id
    assert find_object(unit, device, clip.id, ObjectName.FILE) is None
    thumb = find_object(unit, device, clip.id, ObjectName.THUMB)
    assert thumb is not None
    assert thumb.receipt == b"receipt"
    keep(unit, clip)
    file = find_object(unit, device, clip.id, ObjectName.FILE)
    assert file is not None
    assert file.receipt == b"receipt"


def test_another_manifest_under_a_taken_id_is_a_conflict(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    with pytest.raises(ConflictError):
        keep(unit, resigned(clip, FRONT, end=clip.manifest.end + 1))
    theirs = make_clip(BACK, OTHER, RECIPIENT, clip=clip.id)
    with pytest.raises(ConflictError):
        keep(unit, theirs)
    assert household_of_clip(unit, clip.id) == HOUSEHOLD


def test_an_envelope_whose_clip_never_came_is_replaced(databases: Databases) -> None:
    clip = clip_of()
    with databases.write() as unit:
        unit.vault.add(
            EnvelopeRow(clip=clip.id, object="file", envelope=b"left over", written_at_ms=1)
        )
        unit.commit()
    with databases.write() as unit:
        keep(unit, clip)
        unit.commit()
    with databases.read() as unit:
        row = unit.vault.get_one(EnvelopeRow, (clip.id, "file"))
        assert row.envelope == clip.boxes[ObjectName.FILE].envelope


def test_a_clip_is_stored_when_its_last_object_is(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    store(unit, clip, ObjectName.FILE, ObjectName.DETAILS)
    assert read_clip(unit, clip.id).stored_at_ms is None
    store(unit, clip, ObjectName.THUMB)
    assert read_clip(unit, clip.id).stored_at_ms == NOW_MS + 1


def test_an_object_is_found_only_by_its_own_doorbell(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    found = find_object(unit, FRONT.device.id, clip.id, ObjectName.FILE)
    assert found is not None
    assert found.facts == clip.manifest.file.payload
    assert found.receipt is None
    assert find_object(unit, BACK.device.id, clip.id, ObjectName.FILE) is None


def test_an_object_that_the_manifest_does_not_name_has_no_facts(unit: Unit) -> None:
    clip = make_clip(FRONT, HOUSEHOLD, RECIPIENT, sizes={ObjectName.FILE: 10})
    keep(unit, clip)
    found = find_object(unit, FRONT.device.id, clip.id, ObjectName.THUMB)
    assert found is not None
    assert found.facts is None


def test_only_a_stored_object_with_its_envelope_can_be_sent(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    assert find_sealed(unit, clip.id, ObjectName.FILE) is None
    store(unit, clip, ObjectName.FILE)
    sealed = find_sealed(unit, clip.id, ObjectName.FILE)
    assert sealed is not None
    box = clip.boxes[ObjectName.FILE]
    assert (sealed.envelope, sealed.payload_length) == (box.envelope, len(box.payload))
    assert sealed.key == f"clips/{clip.id}/file"
    unit.vault.delete(unit.vault.get_one(EnvelopeRow, (clip.id, "file")))
    unit.vault.flush()
    assert find_sealed(unit, clip.id, ObjectName.FILE) is None


def test_latest_is_the_clip_that_began_last_of_those_whose_file_is_stored(unit: Unit) -> None:
    old, new, newest = (clip_of(seed) for seed in (1, 2, 3))
    assert latest_stored(unit, HOUSEHOLD) is None
    for clip in (newest, new, old):
        keep(unit, clip)
    store(unit, new, ObjectName.FILE)
    store(unit, old)
    store(unit, newest, ObjectName.THUMB)
    assert latest_stored(unit, HOUSEHOLD) == new.id
    assert latest_stored(unit, OTHER) is None


def test_clips_are_listed_by_when_they_began_however_they_came(unit: Unit) -> None:
    clips = [clip_of(seed) for seed in (3, 1, 2)]
    for clip in clips:
        keep(unit, clip)
    page = list_clips(unit, HOUSEHOLD, ListQuery(limit=2))
    assert [item.id for item in page.items] == [clips[0].id, clips[2].id]
    rest = list_clips(unit, HOUSEHOLD, ListQuery(cursor=str(page.next)))
    assert [item.id for item in rest.items] == [clips[1].id]
    assert rest.next is None
    assert list_clips(unit, OTHER, ListQuery()).items == []


def test_a_tombstone_is_listed_nowhere(unit: Unit) -> None:
    clip = clip_of()
    keep(unit, clip)
    store(unit, clip)
    unit.main.scalars(select(ClipRow)).one().deleted_at_ms = NOW_MS
    unit.main.flush()
    assert list_clips(unit, HOUSEHOLD, ListQuery()).items == []
    assert latest_stored(unit, HOUSEHOLD) is None
    assert household_of_clip(unit, clip.id) is None
