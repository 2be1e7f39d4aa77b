"""Sweeps: both ways, each finding looked up once more, and nothing by a clock in doubt."""

import hashlib
import sqlite3
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, event, insert, select
from structlog.testing import capture_logs

from doorstep_cloud.app.jobs import EXPIRE, Expiry
from doorstep_cloud.app.sweep import GRACE_MS, SWEEP, Sweeper, SweepReport, differences
from doorstep_cloud.app.upkeep import OBJECTS, Upkeep
from doorstep_cloud.app.worker import StoppedError, Worker
from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.clips.deletion import TOMBSTONE_MS, bury, clips_without_envelope, find_tombstone
from doorstep_cloud.clips.service import announce, household_of_clip, object_key, record_stored
from doorstep_cloud.clips.tables import ClipRow, EnvelopeRow
from doorstep_cloud.events.paging import ListQuery
from doorstep_cloud.events.service import MOST_DELETED, events_over, list_events, record_event
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.households.preferences import write_retention_days
from doorstep_cloud.households.retention import HOLD_S, counted_from, is_over
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.objects import ListedObject, ObjectStoreError
from doorstep_cloud.store.passes import last_pass
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ClipKind, ObjectName
from tests.cloud_world import RECEIPT_KEY, House
from tests.people import DAY_MS, HOUSEHOLD, NOW_MS, doorbell, epoch_identity
from tests.scripted_doorbell import Clip, make_clip, make_event
from tests.shelf import Shelf

FRONT = doorbell("front")
RECIPIENT = epoch_identity(1).recipient()
SIZES = {ObjectName.FILE: 100, ObjectName.THUMB: 20}


@dataclass
class World:
    """A service without doors, its clocks in the test's hand."""

    databases: Databases
    shelf: Shelf = field(default_factory=Shelf)
    now_ms: int = NOW_MS
    jump_ms: int = 0
    passed_s: float = 0.0
    deleted: list[ClipId] = field(default_factory=list)
    leftovers: int = 0

    def __post_init__(self) -> None:
        self.deleter = Deleter(
            self.databases, self.shelf, RECEIPT_KEY, self.clock, self.deleted.extend
        )
        self.expiry = Expiry(self.databases, self.deleter, self.clock, lambda: self.passed_s)
        self.sweeper = Sweeper(
            self.databases,
            self.shelf,
            self.deleter,
            sweep_spool=lambda: self.leftovers,
            look_at_clock=self.expiry.look_at_clock,
        )

    def clock(self) -> int:
        """Return what the clock says, which jumps by ``jump_ms`` each time it is asked."""
        at_ms, self.now_ms = self.now_ms, self.now_ms + self.jump_ms
        return at_ms

    def keep(self, seed: int = 0, **changes: object) -> Clip:
        """Return a clip that is stored."""
        clip = make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=seed, sizes=SIZES, **changes)
        envelopes = {name: box.envelope for name, box in clip.boxes.items()}
        with self.databases.write() as unit:
            announce(unit, clip.signed, clip.manifest, envelopes, self.now_ms)
            for name, box in clip.boxes.items():
                record_stored(unit, clip.id, name, b"receipt", self.now_ms)
                digest = hashlib.sha256(box.payload).digest()
                self.shelf.put_if_absent(object_key(clip.id, name), box.payload, digest)
            unit.commit()
        return clip

    def sweep(self) -> SweepReport:
        with capture_logs():
            return self.sweeper.sweep()

    def is_there(self, clip: Clip) -> bool:
        with self.databases.read() as unit:
            return household_of_clip(unit, clip.id) is not None

    def envelopes(self) -> int:
        with self.databases.read() as unit:
            return len(unit.vault.scalars(select(EnvelopeRow)).all())

    def pass_days(self, days: float) -> None:
        """Let time pass as it does while the service runs."""
        self.now_ms += round(days * DAY_MS)
        self.shelf.now_ms = self.now_ms


@pytest.fixture
def world(databases: Databases, house: House) -> World:
    house.welcome(FRONT)
    return World(databases)


def test_a_sweep_of_what_is_in_order_does_nothing(world: World) -> None:
    clips = [world.keep(seed) for seed in range(3)]
    assert world.sweep() == SweepReport()
    world.pass_days(1.5)
    assert world.sweep() == SweepReport()
    assert all(world.is_there(clip) for clip in clips)
    assert len(world.shelf.held) == 6


def test_an_object_of_which_nothing_is_known_goes_after_a_day(world: World) -> None:
    world.keep()
    orphan = make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=9)
    key = object_key(orphan.id, ObjectName.FILE)
    world.shelf.held[key] = (b"x", NOW_MS)
    world.now_ms = NOW_MS + GRACE_MS - 1
    assert world.sweep() == SweepReport(objects_left=1)
    world.now_ms += 1
    assert world.sweep() == SweepReport(objects_of_nobody=1)
    assert key not in world.shelf.held


def test_what_is_under_way_and_what_is_not_ours_stays(world: World) -> None:
    announced = make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=1, sizes=SIZES)
    envelopes = {name: box.envelope for name, box in announced.boxes.items()}
    with world.databases.write() as unit:
        announce(unit, announced.signed, announced.manifest, envelopes, NOW_MS)
        unit.commit()
    ours = object_key(announced.id, ObjectName.FILE)
    for key in (ours, "clips/readme.txt", f"clips/{announced.id}/else", "started"):
        world.shelf.held[key] = (b"x", NOW_MS)
    world.pass_days(1.9)
    assert world.sweep() == SweepReport(objects_left=3)
    assert len(world.shelf.held) == 4


def test_an_object_of_a_deleted_clip_goes_at_once(world: World) -> None:
    clip = world.keep()
    with world.databases.write() as unit:
        bury(unit, [clip.id], NOW_MS)
        unit.commit()
    assert world.sweep() == SweepReport(envelopes_of_tombstones=1, objects_of_tombstones=2)
    assert (world.shelf.held, world.envelopes()) == ({}, 0)


def test_an_object_that_is_missing_is_told_and_its_clip_stays(world: World) -> None:
    clip = world.keep()
    key = object_key(clip.id, ObjectName.FILE)
    del world.shelf.held[key]
    world.pass_days(1.9)
    report = world.sweep()
    assert (report.objects_missing, report.objects_missing_in_all) == ([key], 1)
    assert world.is_there(clip)


def test_an_object_that_is_stored_while_the_sweep_runs_is_none_of_its_findings(
    world: World,
) -> None:
    first = world.keep(0)
    late: list[Clip] = []

    def store_another() -> None:
        if not late:
            late.append(world.keep(5))

    world.shelf.when_listed = store_another
    assert world.sweep() == SweepReport()
    assert world.is_there(first)
    assert world.is_there(late[0])


def test_a_clip_that_is_deleted_while_the_sweep_runs_is_not_missed(world: World) -> None:
    first, last = sorted((world.keep(0), world.keep(1)), key=lambda clip: clip.id)
    listed: list[int] = []

    def delete_the_last() -> None:
        listed.append(1)
        # By the second the sweep knows the rows of both.
        if len(listed) == 2:
            world.deleter.delete_silently([last.id], NOW_MS)
            world.deleter.delete_objects()

    world.shelf.when_listed = delete_the_last
    assert world.sweep() == SweepReport()
    assert world.is_there(first)
    assert not world.is_there(last)


def test_an_envelope_that_never_got_its_clip_goes_after_a_day(world: World) -> None:
    kept = world.keep()
    stray = make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=9)
    with world.databases.write() as unit:
        unit.vault.add(
            EnvelopeRow(clip=stray.id, object="file", envelope=b"left", written_at_ms=NOW_MS)
        )
        unit.commit()
    world.now_ms = NOW_MS + GRACE_MS - 1
    assert world.sweep() == SweepReport()
    world.now_ms += 1
    assert world.sweep() == SweepReport(envelopes_of_nobody=1)
    assert world.envelopes() == len(kept.boxes)


def test_clips_whose_vault_was_lost_are_told_and_given_up_a_day_later(world: World) -> None:
    clips = [world.keep(seed) for seed in range(2)]
    # Older than a day already: it is the loss that has to be a day old.
    world.pass_days(1.9)
    with world.databases.write() as unit:
        unit.vault.execute(delete(EnvelopeRow).where(EnvelopeRow.clip == clips[0].id))
        unit.commit()
    assert world.sweep() == SweepReport(clips_without_envelope=1)
    world.expiry.run()
    world.pass_days(0.9)
    assert world.sweep() == SweepReport(clips_without_envelope=1)
    world.pass_days(0.1)
    assert world.sweep() == SweepReport(
        clips_without_envelope=1, clips_given_up=1, objects_of_tombstones=2
    )
    assert not world.is_there(clips[0])
    assert world.is_there(clips[1])
    assert world.deleted == [clips[0].id]


def test_a_vault_that_is_lost_has_its_own_day_whatever_was_lost_before(world: World) -> None:
    first, *others = [world.keep(seed) for seed in range(4)]
    world.pass_days(1.9)
    with world.databases.write() as unit:
        unit.vault.execute(delete(EnvelopeRow).where(EnvelopeRow.clip == first.id))
        unit.commit()
    assert world.sweep() == SweepReport(clips_without_envelope=1)
    world.expiry.run()
    world.pass_days(1)
    with world.databases.write() as unit:
        unit.vault.execute(delete(EnvelopeRow))
        unit.commit()
    report = world.sweep()
    assert (report.clips_without_envelope, report.clips_given_up) == (4, 1)
    assert all(map(world.is_there, others))
    world.expiry.run()
    world.pass_days(1)
    assert world.sweep().clips_given_up == 3


def test_a_vault_that_comes_back_while_the_sweep_runs_costs_nothing(world: World) -> None:
    clip = world.keep()
    world.pass_days(1.9)
    with world.databases.write() as unit:
        unit.vault.execute(delete(EnvelopeRow))
        unit.commit()
    world.sweep()
    world.expiry.run()
    world.pass_days(1)

    found = clips_without_envelope

    def then_put_back(
        unit: Unit, before: int, after: str, limit: int
    ) -> tuple[list[ClipId], str | None]:
        lost = found(unit, before, after, limit)
        with world.databases.write() as other:
            back = EnvelopeRow(clip=clip.id, object="file", envelope=b"x", written_at_ms=NOW_MS)
            other.vault.add(back)
            other.commit()
        return lost

    with patch("doorstep_cloud.app.sweep.clips_without_envelope", then_put_back):
        assert world.sweep().clips_given_up == 0
    assert world.is_there(clip)


def test_a_vault_that_is_put_back_in_time_costs_nothing(world: World) -> None:
    clip = world.keep()
    world.pass_days(1.9)
    with world.databases.write() as unit:
        rows = [(row.object, row.envelope) for row in unit.vault.scalars(select(EnvelopeRow)).all()]
        unit.vault.execute(delete(EnvelopeRow))
        unit.commit()
    assert world.sweep().clips_without_envelope == 1
    with world.databases.write() as unit:
        unit.vault.add_all(
            EnvelopeRow(clip=clip.id, object=name, envelope=envelope, written_at_ms=NOW_MS)
            for name, envelope in rows
        )
        unit.commit()
    world.expiry.run()
    world.pass_days(1.5)
    assert world.sweep() == SweepReport()
    # The next loss has its own day.
    with world.databases.write() as unit:
        unit.vault.execute(delete(EnvelopeRow))
        unit.commit()
    assert world.sweep() == SweepReport(clips_without_envelope=1)


def test_while_the_clock_is_in_doubt_nothing_goes_by_age(world: World) -> None:
    clip = world.keep()
    orphan = object_key(make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=9).id, ObjectName.FILE)
    world.shelf.held[orphan] = (b"x", NOW_MS)
    world.expiry.run()
    world.now_ms += 400 * DAY_MS
    with capture_logs() as told:
        world.expiry.run()
    assert [fact["event"] for fact in told] == ["expiry_held"]
    assert world.expiry.is_held
    assert world.sweep() == SweepReport(is_clock_believed=False, objects_left=1)
    assert world.is_there(clip)
    with world.databases.read() as unit:
        assert last_pass(unit, EXPIRE) == NOW_MS
    # A start begins its own day: the doubt does not go with the process.
    again = World(world.databases, world.shelf, now_ms=world.now_ms)
    again.passed_s = HOLD_S + 1
    with capture_logs():
        again.expiry.run()
    assert again.is_there(clip)
    again.passed_s += HOLD_S
    with capture_logs():
        again.expiry.run()
    assert not again.is_there(clip)


def test_a_clock_that_was_put_right_goes_on_at_once(world: World) -> None:
    world.keep()
    world.expiry.run()
    world.now_ms += 400 * DAY_MS
    with capture_logs():
        world.expiry.run()
    world.now_ms -= 400 * DAY_MS
    with capture_logs() as told:
        world.expiry.run()
    assert [fact["event"] for fact in told] == ["expiry_goes_on"]


def test_a_clock_that_jumps_in_a_pass_is_not_asked_again(world: World) -> None:
    clip, late = world.keep(0), make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=9)
    orphan = object_key(late.id, ObjectName.FILE)
    world.shelf.held[orphan] = (b"x", NOW_MS)
    with world.databases.write() as unit:
        record_event(
            unit, HOUSEHOLD, FRONT.device.id, ClipKind.RING, make_event(NOW_MS), now=NOW_MS
        )
        stray = EnvelopeRow(clip=late.id, object="file", envelope=b"x", written_at_ms=NOW_MS)
        unit.vault.add(stray)
        unit.commit()
    for act, name in ((world.expiry.run, EXPIRE), (world.sweep, SWEEP)):
        world.now_ms, world.jump_ms = NOW_MS + 1, 3650 * DAY_MS
        act()
        with world.databases.read() as unit:
            assert last_pass(unit, name) == NOW_MS + 1
            assert len(list_events(unit, HOUSEHOLD, ListQuery()).items) == 1
        assert world.is_there(clip)
    assert orphan in world.shelf.held
    assert world.envelopes() == len(clip.boxes) + 1


def test_clips_and_events_go_after_the_days_their_household_has_set(world: World) -> None:
    old, young = world.keep(0), world.keep(1, start=NOW_MS + DAY_MS, end=NOW_MS + DAY_MS + 1)
    ring = make_event(NOW_MS)
    with world.databases.write() as unit:
        record_event(unit, HOUSEHOLD, FRONT.device.id, ClipKind.RING, ring, now=NOW_MS)
        write_retention_days(unit, HOUSEHOLD, 1, NOW_MS)
        unit.commit()
    world.now_ms += DAY_MS - 1
    world.expiry.run()
    assert world.is_there(old)
    world.now_ms += 1
    with capture_logs() as told:
        world.expiry.run()
    assert {"event": "expired", "clips": 2, "events": 1, "log_level": "info"} in told
    # One that began after it was heard of counts from when it was heard of.
    assert not world.is_there(young)
    with world.databases.read() as unit:
        assert list_events(unit, HOUSEHOLD, ListQuery()).items == []
        tombstone = find_tombstone(unit, old.id)
    assert tombstone is not None
    assert tombstone.receipt is None
    assert world.envelopes() == 0


def test_many_events_go_in_small_units_that_only_delete(world: World) -> None:
    """Rings wait for one writer: what it looks at to find the old ones, it looks at before."""
    many, young = 30_000, make_event(NOW_MS + DAY_MS)
    with world.databases.write() as unit:
        columns: dict[str, object] = {
            "device": FRONT.device.id,
            "household": HOUSEHOLD,
            "kind": "ring",
        }
        columns |= {"alert": "now", "at_ms": NOW_MS, "clock_synced": True}
        rows = (
            {**columns, "id": f"{number:026}", "received_at_ms": NOW_MS, "place": number}
            for number in range(many)
        )
        unit.main.execute(insert(EventRow), list(rows))
        record_event(unit, HOUSEHOLD, FRONT.device.id, ClipKind.RING, young, now=NOW_MS + DAY_MS)
        write_retention_days(unit, HOUSEHOLD, 1, NOW_MS)
        unit.commit()
    world.now_ms += DAY_MS
    written: list[tuple[str, int]] = []

    def note(connection: Connection, cursor: sqlite3.Cursor, statement: str, *_: object) -> None:
        if connection.get_execution_options().get("doorstep_unit") != "read":
            written.append((statement, cursor.rowcount))

    event.listen(world.databases.main, "after_cursor_execute", note)
    with capture_logs() as told:
        world.expiry.run()
    event.remove(world.databases.main, "after_cursor_execute", note)
    assert {"event": "expired", "clips": 0, "events": many, "log_level": "info"} in told
    of_events = [(text, rows) for text, rows in written if "event" in text]
    assert {text.split()[0] for text, _ in of_events} == {"DELETE"}
    assert [rows for _, rows in of_events] == [MOST_DELETED] * (many // MOST_DELETED)
    with world.databases.read() as unit:
        assert [item.id for item in list_events(unit, HOUSEHOLD, ListQuery()).items] == [
            young.event
        ]


@given(
    at_ms=st.integers(NOW_MS - 2 * DAY_MS, NOW_MS + 2 * DAY_MS),
    received_ms=st.integers(NOW_MS - 2 * DAY_MS, NOW_MS),
    clock_synced=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_events_are_counted_from_the_time_that_clips_are(
    world: World, at_ms: int, received_ms: int, *, clock_synced: bool
) -> None:
    told = make_event(at_ms).model_copy(update={"clock_synced": clock_synced})
    with world.databases.write() as unit:
        record_event(unit, HOUSEHOLD, FRONT.device.id, ClipKind.RING, told, now=received_ms)
        unit.main.flush()
        found = events_over(unit, HOUSEHOLD, 1, NOW_MS)
    kept_from = counted_from(at_ms, received_ms, clock_synced=clock_synced)
    assert found == ([(FRONT.device.id, told.event)] if is_over(kept_from, NOW_MS, 1) else [])


def test_without_a_first_pass_the_newest_clip_says_how_late_it_is(world: World) -> None:
    clip = world.keep()
    world.now_ms += 20 * DAY_MS
    with capture_logs():
        world.expiry.run()
    assert world.is_there(clip)


def test_the_objects_wait_for_the_store_and_go_over_a_restart(world: World) -> None:
    clip = world.keep()
    with world.databases.write() as unit:
        bury(unit, [clip.id], NOW_MS)
        unit.commit()
    world.shelf.is_away = True
    with pytest.raises(Exception, match="away"):
        world.deleter.delete_objects()
    assert world.envelopes() == 0
    world.shelf.is_away = False
    again = World(world.databases, world.shelf)
    assert again.deleter.delete_objects() == 1
    assert world.shelf.held == {}
    assert again.deleter.delete_objects() == 0


def test_an_object_that_never_goes_keeps_no_other_from_going(world: World) -> None:
    stuck, other = sorted((world.keep(0), world.keep(1)), key=lambda clip: clip.id)
    world.deleter.delete_silently([stuck.id, other.id], NOW_MS)
    world.shelf.stuck = {object_key(stuck.id, ObjectName.FILE)}
    for _ in range(2):
        with pytest.raises(ObjectStoreError, match="does not go"):
            world.deleter.delete_objects()
        assert {key.split("/")[1] for key in world.shelf.held} == {stuck.id}
    world.shelf.stuck = set()
    assert world.deleter.delete_objects() == 1
    assert world.shelf.held == {}


def test_a_tombstone_is_forgotten_after_400_days_once_it_is_empty(world: World) -> None:
    clip = world.keep()
    with world.databases.write() as unit:
        bury(unit, [clip.id], NOW_MS)
        unit.commit()
    world.now_ms = NOW_MS + TOMBSTONE_MS
    world.shelf.is_away = True
    for _ in range(2):
        # As the service's own passes would have moved it on.
        with world.databases.write() as unit:
            unit.main.scalars(select(ClipRow)).one().announced_at_ms = world.now_ms
            unit.commit()
        with pytest.raises(Exception, match="away"):
            world.sweep()
        with world.databases.read() as unit:
            assert find_tombstone(unit, clip.id) is not None
    world.shelf.is_away = False
    world.deleter.delete_objects()
    assert world.sweep() == SweepReport(tombstones_dropped=1)


def test_what_takes_long_is_broken_off_when_the_service_ends(world: World) -> None:
    worker = Worker()
    upkeep = Upkeep(
        world.databases,
        world.shelf,
        world.deleter,
        worker,
        sweep_spool=lambda: 0,
        purge_backups=lambda: 0,
        now_ms=world.clock,
    )
    clips = [world.keep(seed) for seed in range(2)]
    with world.databases.write() as unit:
        bury(unit, [clips[0].id], NOW_MS)
        unit.commit()
    jobs = {job.name: job for job in worker._jobs}
    worker.stop()
    for name in (EXPIRE, OBJECTS, SWEEP):
        with pytest.raises(StoppedError):
            jobs[name].run()
        with world.databases.read() as unit:
            assert last_pass(unit, name) is None
    assert len(world.shelf.held) == 4
    with pytest.raises(StoppedError):
        upkeep.sweeper.sweep()


def test_the_spools_leftovers_are_counted(world: World) -> None:
    world.leftovers = 3
    assert world.sweep().spool_leftovers == 3


keys = st.sets(st.text("abc/", min_size=1, max_size=4), max_size=12)


@given(keys, keys)
def test_both_sides_differences_are_found_whatever_they_are(
    listed: set[str], known: set[str]
) -> None:
    items = [ListedObject(key, 1, NOW_MS) for key in sorted(listed)]
    found = list(differences(iter(items), iter(sorted(known))))
    assert {item.key for item in found if isinstance(item, ListedObject)} == listed - known
    assert {key for key in found if isinstance(key, str)} == known - listed
    assert len(found) == len(listed ^ known)
