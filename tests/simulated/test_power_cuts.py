"""Power cuts after every single step of the disk, in seven scenes.

Each scene runs once on a simulated disk and notes, step by step, what it was promised.
Then the power is cut after every step in turn, and the outbox opened on what is left.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from doorstep_device.chain import Link
from doorstep_device.clip_ending import Ending
from doorstep_device.commands import Commands
from doorstep_device.household import Membership
from doorstep_device.outbox import Outbox, Start
from doorstep_device.rules.episode import PartLimits
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.ids import ClipId, EventId
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName, verify_manifest
from doorstep_shared.receipts import Receipt, sign_receipt
from doorstep_shared.signing import Signed
from doorstep_shared.wire import Answer
from doorstep_simulator.disk import PowerCutError, SimulatedDisk
from tests.orders import delete_order
from tests.people import FRONT_DOOR, NOW_MS, first_head
from tests.recording import (
    FRAME_US,
    RECEIPT_KEY,
    SEALING,
    SECOND_US,
    SHORT,
    Door,
    event,
    open_object,
    open_outbox,
    parameter_sets,
    pending,
    picture_times,
)

# One second between ticks, one fragment (0.4 s, cut at a key frame), and the picture that
# shows a fragment to be whole.
MOST_LOST_US = SECOND_US + 2 * FRAME_US + FRAME_US

# What of the unsynced pages survives, drawn anew for each; the soak draws more.
LUCKS = range(3)

CLEAR = (b"moof", b"ftyp", b"avcC", b"mdat", parameter_sets())


@dataclass
class Promise:
    """What held from one step of the disk on.

    Attributes:
        since: How many steps had been done.
        events: Waiting, and durable.
        acked: Acknowledged, durably forgotten.
        clips: Finished and waiting.
        gone: Clips the service has, or that gave way.
        newest: The newest link of the manifests' chain.
        recorded: Of the clip under way: its id, its first picture and its newest one.
    """

    since: int
    events: frozenset[EventId]
    acked: frozenset[EventId]
    clips: frozenset[ClipId]
    gone: frozenset[ClipId]
    newest: Link
    recorded: tuple[ClipId, int, int] | None


@dataclass
class Scene:
    """A door on a simulated disk that notes what it is promised."""

    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    promises: list[Promise] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outbox = open_outbox(self.disk)
        self.door = Door(self.outbox)
        self.acked: set[EventId] = set()
        self.gone: set[ClipId] = set()
        self.note()

    def watch(self, seconds: float) -> None:
        """Let pictures come for so long, one by one."""
        for _ in range(round(seconds * SECOND_US / FRAME_US)):
            self.door.watch(FRAME_US / SECOND_US)
            self.note()

    def ack(self, *events: EventId) -> None:
        """Let the service acknowledge events."""
        self.outbox.mark_events_acked(events)
        self.acked.update(events)
        self.note()

    def store(self, clip: ClipId) -> None:
        """Let the service store a clip, object by object."""
        self.outbox.mark_announced(clip)
        for name, signed in receipts(pending(self.outbox)[clip]):
            stored = self.outbox.mark_receipt(signed, NOW_MS)
            assert (stored == clip) == (name is ObjectName.FILE)
        self.gone.add(clip)
        self.note()

    def note(self) -> None:
        """Note what is promised from here on."""
        waiting = frozenset(entry.event.event for entry in self.outbox.pending_events())
        self.promises.append(
            Promise(
                since=len(self.disk.steps),
                events=waiting,
                acked=frozenset(self.acked),
                clips=frozenset(pending(self.outbox)),
                gone=frozenset(self.gone),
                newest=self.outbox._chain.newest,
                recorded=self._recorded(),
            )
        )

    def promised(self, steps: int) -> Promise:
        """Return what was promised last when so many steps had been done.

        Less what the call under way was asked to forget: it may have, or not yet.
        """
        last = [promise for promise in self.promises if promise.since <= steps][-1]
        following = [promise for promise in self.promises if promise.since > steps][:1]
        for promise in following:
            last = replace(
                last, events=last.events - promise.acked, clips=last.clips - promise.gone
            )
        return last

    def _recorded(self) -> tuple[ClipId, int, int] | None:
        take = self.door.recorder._take
        if take is None:
            return None
        return take.clip, take._first_us, self.door.at_us


def receipts(manifest: Manifest) -> Iterator[tuple[ObjectName, Signed]]:
    """Yield the service's receipt for each object, the file last."""
    for name, facts in reversed(manifest.objects.items()):
        receipt = Receipt(
            device=manifest.device,
            clip=manifest.clip,
            object=name,
            size=facts.payload.length,
            sha256=facts.payload.sha256,
        )
        yield name, sign_receipt(receipt, RECEIPT_KEY)


def a_ring() -> Scene:
    scene = Scene()
    scene.watch(4)
    scene.door.ring("ring")
    scene.note()
    scene.watch(3.4)
    return scene


def motion_then_a_ring() -> Scene:
    scene = Scene()
    scene.watch(3)
    scene.door.move("motion")
    scene.watch(1.4)
    scene.door.see(0.8)
    scene.door.ring("ring")
    scene.note()
    scene.watch(1)
    scene.door.stand_still()
    scene.watch(3)
    return scene


def a_long_event_in_parts() -> Scene:
    scene = Scene()
    scene.door = Door(scene.outbox, replace(SHORT, limits=PartLimits(longest_us=3 * SECOND_US)))
    scene.watch(3)
    scene.door.move("motion")
    scene.watch(6)
    scene.door.stand_still()
    scene.watch(3)
    return scene


def only_events() -> Scene:
    scene = Scene()
    for number in range(40):
        kind = ClipKind.RING if number % 4 == 0 else ClipKind.MOTION
        happened = event(f"event {number}", NOW_MS + number)
        scene.outbox.put_event(kind, happened)
        scene.note()
        if number % 3 == 2:
            waiting = scene.outbox.pending_events()
            scene.ack(waiting[0].event.event, waiting[-1].event.event)
    return scene


def a_clip_delivered_and_evicted() -> Scene:
    scene = a_ring()
    first = next(iter(pending(scene.outbox)))
    scene.ack(*(entry.event.event for entry in scene.outbox.pending_events()))
    scene.store(first)
    scene.door.ring("second")
    scene.watch(3.4)
    scene.outbox.tidy(NOW_MS + 25 * 3600 * 1000)
    scene.note()
    scene.door.ring("third")
    scene.watch(2)
    return scene


SCENES: dict[str, Callable[[], Scene]] = {
    "a ring": a_ring,
    "motion, then a ring": motion_then_a_ring,
    "a long event in parts": a_long_event_in_parts,
    "only events": only_events,
    "a clip delivered and evicted": a_clip_delivered_and_evicted,
}


@pytest.fixture(autouse=True)
def often_rotated_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorstep_device.event_log._ROTATE_BYTES", 1500)


@pytest.mark.parametrize("name", SCENES)
def test_a_power_cut_after_any_step_loses_nothing_that_was_promised(name: str) -> None:
    scene = SCENES[name]()
    cuts = range(scene.promises[0].since, len(scene.disk.steps) + 1)
    for steps, luck in itertools.product(cuts, LUCKS):
        disk = scene.disk.after_cut(steps, seed=luck)
        outbox = open_outbox(disk)
        context = f"luck {luck}, cut after step {steps}: {scene.disk.steps[steps - 1]}"
        check_kept(outbox, scene.promised(steps), context)
        check_whole(outbox, context)
        check_sealed(disk)


def test_a_power_cut_during_recovery_loses_nothing_either() -> None:
    scene = motion_then_a_ring()
    recording = [promise.since for promise in scene.promises if promise.recorded]
    for steps in recording[:: len(recording) // 6]:
        first = scene.disk.after_cut(steps)
        open_outbox(first, seed="first")
        found = set()
        for more in range(len(first.steps) + 1):
            disk = first.after_cut(more, seed=more)
            outbox = open_outbox(disk, seed=f"second {more}")
            context = f"cut after {steps} and {more} steps"
            check_kept(outbox, scene.promised(steps), context)
            check_whole(outbox, context)
            found.add(tuple(manifest.file.payload for manifest in pending(outbox).values()))
        assert len(found) == 1, "each recovery finds the same bytes"


def test_events_outlive_a_cut_during_the_start_after_a_cut() -> None:
    scene = only_events()
    for steps in range(scene.promises[0].since, len(scene.disk.steps) + 1, 3):
        first = scene.disk.after_cut(steps)
        outbox = open_outbox(first)
        opened = len(first.steps)
        later = event("later")
        outbox.put_event(ClipKind.RING, later)
        promise = scene.promised(steps)
        for more in range(len(first.steps) + 1):
            context = f"cut after {steps} and {more} steps"
            again = open_outbox(first.after_cut(more, seed=more))
            check_kept(again, promise, context)
            stored = {entry.event.event for entry in again.pending_events()}
            assert later.event in stored or more < len(first.steps), context
            assert later.event not in stored or more > opened, context


@pytest.mark.parametrize("steps", [30, 45, 70])
def test_recording_goes_on_after_a_cut_with_the_next_number(steps: int) -> None:
    scene = motion_then_a_ring()
    disk = scene.disk.after_cut(steps)
    door = Door(open_outbox(disk, seed="again"))
    door.watch(3)
    door.ring("after the cut")
    door.watch(3)
    check_whole(open_outbox(disk.after_cut(), seed="and again"), "after a second clip")
    assert [manifest.seq for manifest in in_order(door.outbox)] == [1, 2]


def test_power_that_fails_within_a_call_ends_it_for_good() -> None:
    disk = SimulatedDisk()
    outbox = open_outbox(disk)
    disk.cut_after(1)
    with pytest.raises(PowerCutError):
        outbox.put_event(ClipKind.RING, event("ring"))
    with pytest.raises(PowerCutError):
        disk.read("outbox/format")


# Until the clip under way ends, it cannot go; so both commands are at work for a while.
FIRST_ORDER = delete_order(until=NOW_MS + 9_000, counter=1)
DONE = {counter: Answer(counter=counter, is_done=True) for counter in (1, 2)}


@dataclass(frozen=True, slots=True)
class Deletion:
    """A scene in which an owner deletes, and when what was durable.

    Attributes:
        disk: With every step.
        second_order: Names the first clip and the one that began after the first command's time.
        doomed: The clips of the first command.
        later: The clip that only the second command names.
        spared: A clip that none names.
        taken: How many steps had been done when each command was taken.
        done: When each was done.
        events: Waiting all the time.
        newest: The manifests' chain, by how many steps had been done.
    """

    disk: SimulatedDisk
    second_order: Signed
    doomed: frozenset[ClipId]
    later: ClipId
    spared: ClipId
    begun: int
    taken: tuple[int, int]
    done: tuple[int, int]
    events: frozenset[EventId]
    newest: tuple[tuple[int, Link], ...]


def commands_on(disk: SimulatedDisk, outbox: Outbox) -> Commands:
    """Return the commands kept on ``disk``, as a start takes them up."""
    device = FRONT_DOOR.device
    keys = DeviceKeys(device.id, device.tls_key, device.manifest_key, device.age_recipient)
    membership = Membership(disk, first_head().root, keys)
    membership.accept([first_head().signed])
    return Commands(disk, device.id, membership, outbox, not_before_ms=0)


def record_one(outbox: Outbox, name: str, start_ms: int) -> Manifest:
    """Record a clip that began then, without pictures."""
    happened = event(name, start_ms)
    writer = outbox.begin_clip(
        SEALING, Start(ClipKind.RING, (happened.event,), 1, 0, start_ms, clock_synced=True)
    )
    outbox.tick_clip(writer, b"moov", 1000)
    return outbox.finish_clip(writer, b"end", Ending(media_ms=1500, is_last=True))


def an_owner_deletes() -> Deletion:
    """Delete a clip that waits, one the service has and one under way; then one more by name."""
    scene = a_ring()
    commands = commands_on(scene.disk, scene.outbox)
    waiting = next(iter(pending(scene.outbox)))
    stored = record_one(scene.outbox, "stored", NOW_MS + 1)
    later = record_one(scene.outbox, "later", NOW_MS + 60_000).clip
    spared = record_one(scene.outbox, "spared", NOW_MS + 61_000).clip
    for _, signed in receipts(stored):
        scene.outbox.mark_receipt(signed, NOW_MS)
    scene.door.ring("under way")
    scene.watch(1.4)
    assert scene.outbox._recording is not None
    doomed = frozenset({waiting, stored.clip, scene.outbox._recording.clip})
    second_order = delete_order([later, waiting], counter=2)
    begun = len(scene.disk.steps)
    scene.note()
    assert commands.take(FIRST_ORDER, NOW_MS, is_synced=True) == ()
    first_taken = len(scene.disk.steps)
    assert commands.take(second_order, NOW_MS, is_synced=True) == (DONE[2],)
    second_done = len(scene.disk.steps)
    scene.note()
    scene.watch(2.4)
    assert not scene.door.recorder.is_recording
    scene.note()
    assert commands.finish() == (DONE[1],)
    return Deletion(
        disk=scene.disk,
        second_order=second_order,
        doomed=doomed,
        later=later,
        spared=spared,
        begun=begun,
        taken=(first_taken, second_done),
        done=(len(scene.disk.steps), second_done),
        events=scene.promises[-1].events,
        newest=tuple((promise.since, promise.newest) for promise in scene.promises),
    )


def check_deleted(scene: Deletion, disk: SimulatedDisk, steps: int, context: str) -> None:
    """Start on ``disk`` as a cut after ``steps`` left it; see what was taken done, and no more."""
    outbox = open_outbox(disk, seed="again")
    before = {name.removesuffix(".gone") for name in disk.list_dir("outbox")}
    commands = commands_on(disk, outbox)
    here = {name.removesuffix(".gone") for name in disk.list_dir("outbox")}
    assert outbox.problems == commands.problems == (), context
    # Taken: finished by the start itself, whether or not anybody says it again.
    assert steps < scene.taken[0] or not here & scene.doomed, context
    assert steps < scene.taken[1] or scene.later not in here, context
    # Not taken: not begun.
    if steps <= scene.begun:
        assert scene.doomed <= before, context
        assert {*scene.doomed, scene.later} <= here, context
    for order, answer in ((FIRST_ORDER, DONE[1]), (scene.second_order, DONE[2])):
        kept = len(disk.steps)
        assert commands.take(order, NOW_MS, is_synced=True) == (answer,), context
        assert steps < scene.taken[answer.counter - 1] or len(disk.steps) == kept, context
    assert set(pending(outbox)) == {scene.spared}, context
    events = {entry.event.event for entry in outbox.pending_events()}
    assert scene.events <= events, context
    # No number is used twice, though nobody may ever see the manifests that had them.
    newest = max((link for since, link in scene.newest if since <= steps), key=lambda n: n.seq)
    assert outbox._chain.newest.seq >= newest.seq, context
    link = outbox._chain.newest
    following = record_one(outbox, "following", NOW_MS + 70_000)
    assert (following.seq, following.prev) == (link.seq + 1, link.sha256), context
    names = set(open_outbox(disk.after_cut(), seed="and again")._kept)
    assert names == {scene.spared, following.clip}, context


def test_a_power_cut_after_any_step_of_a_deletion_leaves_it_to_be_finished_once() -> None:
    scene = an_owner_deletes()
    for steps, luck in itertools.product(range(scene.begun, len(scene.disk.steps) + 1), LUCKS):
        context = f"luck {luck}, cut after step {steps}: {scene.disk.steps[steps - 1]}"
        check_deleted(scene, scene.disk.after_cut(steps, seed=luck), steps, context)


def test_a_power_cut_while_a_start_finishes_a_deletion_leaves_it_to_the_next_start() -> None:
    scene = an_owner_deletes()
    for steps in range(scene.begun, len(scene.disk.steps) + 1, 3):
        first = scene.disk.after_cut(steps)
        commands_on(first, open_outbox(first, seed="first"))
        for more in range(len(first.steps) + 1):
            context = f"cut after {steps} and {more} steps"
            check_deleted(scene, first.after_cut(more, seed=more), steps, context)


def check_kept(outbox: Outbox, promise: Promise, context: str) -> None:
    """Check that what was promised is there, once, and what was forgotten is not."""
    assert outbox.problems == (), context
    events = [entry.event.event for entry in outbox.pending_events()]
    assert len(events) == len(set(events)), context
    assert promise.events <= set(events), context
    assert not promise.acked & set(events), context
    clips = pending(outbox)
    assert promise.clips <= clips.keys(), context
    assert not promise.gone & clips.keys(), context
    # No number is used twice, and each manifest names the one before it.
    newest = outbox._chain.newest
    if newest != promise.newest:
        following = [manifest for manifest in in_order(outbox) if manifest.seq > promise.newest.seq]
        assert [manifest.seq for manifest in following] == [promise.newest.seq + 1], context
        assert following[0].prev == promise.newest.sha256, context
    if promise.recorded is not None:
        check_recorded(outbox, *promise.recorded, context)


def check_recorded(
    outbox: Outbox, clip: ClipId, first_us: int, newest_us: int, context: str
) -> None:
    """Check that a clip that was under way holds all but its last moments."""
    wanted = range(0, newest_us - first_us - MOST_LOST_US, FRAME_US)
    if not wanted:
        return
    assert clip in pending(outbox), context
    times = picture_times(open_object(outbox, clip, ObjectName.FILE))
    assert list(times[: len(wanted)]) == list(wanted), context


def check_whole(outbox: Outbox, context: str) -> None:
    """Check that every clip opens, plays, and is the next link of one chain."""
    manifests = in_order(outbox)
    for before, after in itertools.pairwise(manifests):
        assert after.seq == before.seq + 1, context
        signed = outbox.announcement(before.clip).manifest
        assert after.prev == signed.body_hash, context
    for manifest in manifests:
        signed = outbox.announcement(manifest.clip).manifest
        assert verify_manifest(signed, FRONT_DOOR.sign.public) == manifest
        times = picture_times(open_object(outbox, manifest.clip, ObjectName.FILE))
        assert times == tuple(range(0, FRAME_US * len(times), FRAME_US)), context
        assert times[-1] // 1000 == manifest.end - manifest.start, context
        if manifest.truncated:
            assert manifest.thumb is manifest.details is None
        for name in manifest.objects:
            assert open_object(outbox, manifest.clip, name), context


def check_sealed(disk: SimulatedDisk) -> None:
    """Check that no byte of a clear clip is on the disk."""
    for path, data in disk.everything():
        for clear in CLEAR:
            assert clear not in data, f"{clear!r} stands in {path}"


def in_order(outbox: Outbox) -> list[Manifest]:
    """Return the manifests that wait, in the order of their numbers."""
    return sorted(pending(outbox).values(), key=lambda manifest: manifest.seq)
