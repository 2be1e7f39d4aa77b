"""The control connection: what was promised is told until the service has it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_device import uplink as uplink_module
from doorstep_device.commands import OVERTAKEN, Commands
from doorstep_device.household import Membership
from doorstep_device.outbox import Outbox, PendingEvent
from doorstep_device.ports.disk import DiskBrokenError, DiskFullError
from doorstep_device.rules.backoff import Backoff
from doorstep_device.uplink import MOST_ANNOUNCEMENTS, MOST_EVENTS, Attempts, Boot, Uplink
from doorstep_device.worker import Worker
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.commands import MAX_COMMAND_BYTES
from doorstep_shared.deletions import Deletion, sign_deletion
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import ClipId, EventId
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_shared.signing import Signed, SigningKey
from doorstep_shared.statements import Head, accept_next
from doorstep_shared.topics import Leaf
from doorstep_shared.wire import (
    DELETED,
    Ack,
    Answer,
    CameraState,
    Health,
    Hello,
    RefusedClip,
    StatementHead,
    Status,
    decode_body,
)
from doorstep_simulator.disk import SimulatedDisk
from tests.far_end import PATIENCE_S, ScriptedBroker, ScriptedService, until
from tests.orders import delete_order
from tests.people import (
    FRONT_DOOR,
    HOUSEHOLD,
    NOW_MS,
    doorbell,
    first_head,
    person,
    random_from,
    successor,
)
from tests.recording import RECEIPT_KEY, Door, event, open_outbox
from tests.scripted_doorbell import make_health

BOOT = Boot(FRONT_DOOR.device.id, "ab" * 16, "doorstep 0.1.0")
SECOND_US = 1_000_000


@dataclass(slots=True)
class Facts:
    """Collects what is logged."""

    told: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    def info(self, fact: str, **details: object) -> None:
        self.told.append((fact, details))

    warning = error = info

    def named(self, fact: str) -> list[dict[str, object]]:
        return [details for name, details in self.told if name == fact]


@pytest.fixture
def facts(monkeypatch: pytest.MonkeyPatch) -> Facts:
    """Everything the uplink tells."""
    found = Facts()
    monkeypatch.setattr(uplink_module, "log", found)
    return found


@dataclass(slots=True)
class Bell:
    """An uplink with its outbox, and the service far away; time passes when the test says so."""

    disk: SimulatedDisk
    outbox: Outbox
    membership: Membership
    worker: Worker
    events_worker: Worker = field(default_factory=Worker)
    line: ScriptedBroker = field(default_factory=ScriptedBroker)
    now_us: int = 0
    heads: list[Head] = field(default_factory=list)
    nudges: int = 0
    returns: int = 0
    deletions: int = 0
    camera: CameraState = CameraState.WATCHING
    running: asyncio.Task[None] = field(init=False)
    commands: Commands = field(init=False)
    uplink: Uplink = field(init=False)
    service: ScriptedService = field(init=False)

    def __post_init__(self) -> None:
        self.service = ScriptedService(BOOT.device, self.line, ScriptedBroker(), RECEIPT_KEY)
        self.commands = Commands(
            self.disk, BOOT.device, self.membership, self.outbox, not_before_ms=0
        )
        self.uplink = Uplink(
            self.line,
            BOOT,
            events_worker=self.events_worker,
            worker=self.worker,
            outbox=self.outbox,
            membership=self.membership,
            commands=self.commands,
            now_us=lambda: self.now_us,
            now_ms=lambda: self.now_us // 1000,
            is_synced=lambda: False,
            chance=lambda: 0.5,
            read_health=self._health,
            on_head=self._head,
            on_announced=self._announced,
            on_service_back=self._back,
            on_deleted=self._deleted,
        )

    async def _health(self) -> Health:
        return make_health(0, BOOT.boot, self.camera)

    async def _head(self, head: Head) -> None:
        self.heads.append(head)

    def _announced(self) -> None:
        self.nudges += 1

    def _back(self) -> None:
        self.returns += 1

    def _deleted(self) -> None:
        self.deletions += 1

    def ring(self, name: str) -> EventId:
        """Store a ring and send it."""
        happened = event(name)
        self.outbox.put_event(ClipKind.RING, happened)
        self.uplink.send_event(PendingEvent(ClipKind.RING, happened))
        return happened.event

    def record(self) -> ClipId:
        """Store a clip."""
        return record(self.outbox)

    def times(self, one: EventId) -> int:
        """How often ``one`` arrived."""
        return sum(arrived == one for _, arrived in self.service.events)

    async def pass_s(self, seconds: float) -> None:
        """Let time pass and everything that is due be done."""
        self.now_us += round(seconds * SECOND_US)
        self.uplink.nudge()
        await self.settle()

    def say_hello_again(self) -> None:
        """Let it greet the service anew, later."""
        self.now_us += round(uplink_module.HELLO_EVERY_S * SECOND_US)
        self.line.connect()

    async def settle(self) -> None:
        """Let everything under way come to rest."""
        for _ in range(20):
            await self.worker.run(lambda: None)
            await self.events_worker.run(lambda: None)
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Cancel the uplink; it ends."""
        self.running.cancel()
        await asyncio.wait([self.running], timeout=PATIENCE_S)
        assert self.running.cancelled()

    async def are_acked(self) -> None:
        await until(lambda: not self.outbox.pending_events(), "the acks")


def record(outbox: Outbox) -> ClipId:
    door = Door(outbox)
    door.watch(3)
    door.ring("recorded")
    outbox.mark_events_acked([event.event.event for event in outbox.pending_events()])
    door.watch(5)
    door.recorder.stop()
    (clip,) = door.recorder.take_finished()
    return clip


def open_membership(disk: SimulatedDisk) -> Membership:
    device = FRONT_DOOR.device
    keys = DeviceKeys(device.id, device.tls_key, device.manifest_key, device.age_recipient)
    return Membership(disk, first_head().root, keys)


@pytest.fixture
async def bell() -> AsyncIterator[Bell]:
    """A doorbell's uplink, running and not yet connected."""
    disk = SimulatedDisk()
    found = Bell(disk, open_outbox(disk), open_membership(disk), Worker())
    found.running = asyncio.create_task(found.uplink.run())
    yield found
    await found.end()
    found.events_worker.close()
    found.worker.close()


async def test_it_says_who_and_where_it_is_when_the_line_stands(bell: Bell) -> None:
    bell.membership.accept([first_head().signed])
    bell.line.connect()
    await until(lambda: len(bell.line.bodies(Leaf.HEALTH)) == 1)
    (hello,) = bell.service.hellos
    (status,) = (decode_body(Status, body) for body in bell.line.bodies(Leaf.STATUS))
    assert hello == Hello(
        boot=BOOT.boot,
        connections=1,
        agent="doorstep 0.1.0",
        statement=StatementHead(seq=0, sha256=first_head().signed.body_hash),
    )
    assert status == Status(boot=BOOT.boot, connections=1, online=True)
    assert bell.uplink.is_online


async def test_each_connection_counts_on(bell: Bell) -> None:
    for _ in range(3):
        bell.line.connect()
        bell.line.disconnect()
    bell.line.connect()
    await until(lambda: len(bell.service.hellos) == 4)
    assert [hello.connections for hello in bell.service.hellos] == [1, 2, 3, 4]
    assert [hello.statement for hello in bell.service.hellos] == [None] * 4


def test_the_will_says_offline_for_that_very_connection() -> None:
    will = BOOT.will(7)
    assert will.topic.endswith("/status")
    assert decode_body(Status, will.body) == Status(boot=BOOT.boot, connections=7, online=False)


async def test_a_ring_is_sent_at_once_and_forgotten_only_with_its_ack(bell: Bell) -> None:
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.service.loses_acks = 1
    ring = bell.ring("ring")
    # The broker has taken it by now: that is no acknowledgement.
    assert bell.times(ring) == 1
    await bell.settle()
    assert [waiting.event.event for waiting in bell.outbox.pending_events()] == [ring]
    await bell.pass_s(2)
    await bell.are_acked()
    assert bell.times(ring) == 2


async def test_what_is_not_acknowledged_is_sent_again_ever_more_slowly(bell: Bell) -> None:
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.service.loses_acks = 5
    ring = bell.ring("ring")
    # 2 s, then three quarters of 4, 8, 16 s: chance is one half.
    for count, pause_s in enumerate((2, 3, 6, 12), start=1):
        await bell.pass_s(pause_s - 0.1)
        assert bell.times(ring) == count
        await bell.pass_s(0.1)
        assert bell.times(ring) == count + 1


async def test_it_wakes_by_itself_when_something_is_due_again(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "Backoff", partial(Backoff, first_us=20_000))
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.service.loses_acks = 1
    ring = bell.ring("ring")
    await bell.settle()
    assert bell.times(ring) == 1
    bell.now_us += 20_000
    await until(lambda: bell.times(ring) == 2)


async def test_a_new_line_brings_everything_at_once(bell: Bell) -> None:
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.service.loses_acks = 3
    rings = [bell.ring(name) for name in ("one", "two", "three")]
    await bell.settle()
    bell.line.disconnect()
    bell.line.connect()
    await bell.are_acked()
    assert [bell.times(ring) for ring in rings] == [2, 2, 2]


async def test_a_service_that_speaks_again_is_brought_everything_at_once(bell: Bell) -> None:
    bell.service.connect()
    bell.service.loses_acks = 5
    waiting = bell.ring("in the outage")
    for _ in range(4):
        await bell.pass_s(20)
    before, bell.returns = bell.times(waiting), 0
    bell.service.loses_acks = 0
    pressed = bell.ring("after it")
    await bell.settle()
    # The second ring's ack says that the service is back: the first waits for no back-off.
    await bell.are_acked()
    assert (bell.times(pressed), bell.times(waiting)) == (1, before + 1)
    assert bell.returns == 1
    # Acks that follow one another say nothing new.
    bell.ring("soon after")
    await bell.are_acked()
    assert bell.returns == 1


async def test_without_a_line_nothing_is_sent_and_nothing_is_lost(bell: Bell) -> None:
    ring = bell.ring("ring")
    await bell.settle()
    assert bell.line.sent == []
    bell.line.connect()
    await bell.are_acked()
    assert bell.times(ring) == 1


@pytest.mark.parametrize("messages", range(6))
async def test_a_line_that_breaks_after_any_message_loses_nothing(
    bell: Bell, messages: int
) -> None:
    clip = bell.record()
    bell.line.connect()
    bell.line.fails_after = messages
    rings = [bell.ring("one"), bell.ring("two")]
    await bell.settle()
    bell.line.disconnect()
    bell.line.connect()
    await bell.are_acked()
    await until(lambda: bell.outbox.pending_clips()[0].is_announced)
    assert {arrived for _, arrived in bell.service.events} == set(rings)
    assert list(bell.service.clips) == [clip]


async def test_a_ring_that_comes_while_the_outbox_is_read_is_sent_once(bell: Bell) -> None:
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.service.loses_acks = 1
    # The line is new: just now the uplink asks its worker what waits.
    ring = bell.ring("ring")
    await bell.pass_s(1.9)
    assert bell.times(ring) == 1


async def test_of_a_backlog_a_few_are_on_their_way_and_a_new_ring_passes_the_rest(
    bell: Bell,
) -> None:
    clips = [bell.record() for _ in range(6)]
    motions = [event(f"motion {number}") for number in range(100)]
    for motion in motions:
        bell.outbox.put_event(ClipKind.MOTION, motion)
    bell.service.loses_acks = 17
    bell.line.connect()
    await until(lambda: len(bell.service.clips) == MOST_ANNOUNCEMENTS)
    await bell.settle()
    assert len(bell.service.events) == MOST_EVENTS
    ring = bell.ring("ring")
    # Nothing was due, and it is the next on the line all the same.
    assert bell.service.events[MOST_EVENTS:] == [(Leaf.RING, ring)]
    assert bell.service.loses_acks == 0
    # The service is back: each ack makes room for the next.
    await bell.pass_s(2)
    await bell.are_acked()
    await until(lambda: all(clip.is_announced for clip in bell.outbox.pending_clips()))
    assert {one for _, one in bell.service.events} == {ring, *(motion.event for motion in motions)}
    assert set(bell.service.clips) == set(clips)


async def test_what_the_service_never_acknowledges_holds_up_nothing_else(bell: Bell) -> None:
    never = [event(f"bad {number}") for number in range(20)]
    for bad in never:
        bell.outbox.put_event(ClipKind.MOTION, bad)
    ignored = {bad.event for bad in never}
    bell.service.says = lambda ack: ack.model_copy(
        update={"events": tuple(one for one in ack.events if one not in ignored)}
    )
    bell.line.connect()
    await until(lambda: len(bell.service.events) == MOST_EVENTS)
    for number in range(30):
        bell.outbox.put_event(ClipKind.MOTION, event(f"good {number}"))
    for _ in range(4):
        await bell.pass_s(2)
    assert {waiting.event.event for waiting in bell.outbox.pending_events()} == ignored


async def test_rings_go_before_motion(bell: Bell) -> None:
    bell.outbox.put_event(ClipKind.MOTION, event("motion"))
    bell.outbox.put_event(ClipKind.RING, event("ring"))
    bell.line.connect()
    await bell.are_acked()
    assert [leaf for leaf, _ in bell.service.events] == [Leaf.RING, Leaf.MOTION]


async def test_a_clip_is_announced_until_the_service_knows_it(bell: Bell) -> None:
    clip = bell.record()
    bell.service.loses_acks = 1
    bell.line.connect()
    await until(lambda: clip in bell.service.clips)
    await bell.settle()
    assert not bell.outbox.pending_clips()[0].is_announced
    await bell.pass_s(2)
    await until(lambda: bell.outbox.pending_clips()[0].is_announced)
    await bell.pass_s(300)
    assert bell.service.clips[clip].times == 2
    assert bell.nudges >= 1


async def test_a_clip_the_service_has_forgotten_is_announced_again_at_once(bell: Bell) -> None:
    clip = bell.record()
    bell.line.connect()
    await until(lambda: bell.outbox.pending_clips()[0].is_announced)
    bell.uplink.announce_again(clip)
    await until(lambda: bell.service.clips[clip].times == 2)
    await bell.pass_s(300)
    assert bell.service.clips[clip].times == 2


async def test_a_clip_that_gave_way_meanwhile_is_passed_over(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = bell.record()
    listed = bell.outbox.pending_clips()
    bell.outbox._remove(bell.outbox._kept[gone])
    monkeypatch.setattr(bell.outbox, "pending_clips", lambda: listed)
    bell.line.connect()
    ring = bell.ring("ring")
    await bell.are_acked()
    await bell.pass_s(2)
    assert gone not in bell.service.clips
    assert bell.times(ring) == 1


async def test_a_refused_clip_stays_what_it_was_and_is_offered_again_after_a_day(
    bell: Bell, facts: Facts
) -> None:
    clip = bell.record()
    bell.service.says = lambda ack: ack.model_copy(
        update={
            "announced": (),
            "refused": tuple(RefusedClip(clip=c, reason="no") for c in ack.announced),
        }
    )
    bell.line.connect()
    await until(lambda: facts.named("clip_refused") == [{"clip_id": clip, "reason": "no"}])
    for _ in range(3):
        await bell.pass_s(7 * 3600)
        bell.line.disconnect()
        bell.line.connect()
    await bell.settle()
    assert bell.service.clips[clip].times == 1
    assert bell.outbox.usage().waiting_clips == 1
    # Another start of the doorbell finds nothing of it either.
    assert [waiting.clip for waiting in open_outbox(bell.disk).pending_clips()] == [clip]
    bell.service.says = lambda ack: ack
    await bell.pass_s(3 * 3600)
    await until(lambda: bell.outbox.pending_clips()[0].is_announced)


async def test_a_clip_that_was_deleted_is_let_go_with_proof_and_kept_without(
    bell: Bell, facts: Facts
) -> None:
    proven, unproven = bell.record(), bell.record()
    manifest = bell.outbox.announcement(proven).manifest
    deletion = Deletion(household=HOUSEHOLD, clip=proven, manifest=manifest.body_hash, at=NOW_MS)
    bell.service.says = lambda ack: ack.model_copy(
        update={
            "announced": (),
            "refused": tuple(RefusedClip(clip=c, reason=DELETED) for c in ack.announced),
            "deletions": (sign_deletion(deletion, RECEIPT_KEY),),
        }
    )
    bell.line.connect()
    await until(lambda: len(facts.named("clip_refused")) == 2)
    await until(lambda: [c.clip for c in bell.outbox.pending_clips()] == [unproven])
    assert facts.named("clip_let_go") == [{"clip_id": proven, "reason": DELETED}]
    # The proof may come with a later refusal, so it is offered again soon.
    before = bell.service.clips[unproven].times
    await bell.pass_s(700)
    await until(lambda: bell.service.clips[unproven].times > before)


async def test_a_new_statement_offers_what_was_refused_again(bell: Bell, facts: Facts) -> None:
    clip = bell.record()
    bell.line.connect()
    await until(lambda: clip in bell.service.clips)
    bell.service.acknowledge(Ack(refused=(RefusedClip(clip=clip, reason="not listed"),)))
    await until(lambda: len(facts.named("clip_refused")) == 1)
    bell.uplink.announce_again(clip)
    await bell.settle()
    assert bell.service.clips[clip].times == 1
    bell.service.tell_statements(first_head().signed)
    await until(lambda: len(bell.heads) == 1)
    bell.uplink.nudge()
    await until(lambda: bell.service.clips[clip].times == 2)


async def test_receipts_for_all_its_objects_let_it_forget_a_clip(bell: Bell) -> None:
    clip = bell.record()
    bell.line.connect()
    await until(lambda: clip in bell.service.clips)
    for name, facts_of in bell.service.clips[clip].manifest.objects.items():
        assert bell.outbox.pending_clips() != ()
        receipt = bell.service.receipt(clip, name, facts_of.payload)
        bell.service.acknowledge(Ack(receipts=(receipt,)))
        await bell.settle()
    assert bell.outbox.pending_clips() == ()


async def test_a_forged_receipt_is_refused_and_the_clip_stays(bell: Bell, facts: Facts) -> None:
    clip = bell.record()
    bell.line.connect()
    await until(lambda: clip in bell.service.clips)
    forger = SigningKey.generate(random_from("forger"))
    forged = ScriptedService(BOOT.device, ScriptedBroker(), ScriptedBroker(), forger)
    for name, facts_of in bell.service.clips[clip].manifest.objects.items():
        receipt = forged.receipt(clip, name, facts_of.payload)
        bell.service.acknowledge(Ack(receipts=(receipt,)))
    await until(lambda: len(facts.named("message_refused")) == 3)
    (waiting,) = bell.outbox.pending_clips()
    assert set(waiting.missing) == set(bell.service.clips[clip].manifest.objects)


async def test_a_receipt_for_other_bytes_is_dropped_and_the_clip_stays(
    bell: Bell, facts: Facts
) -> None:
    clip = bell.record()
    bell.line.connect()
    await until(lambda: clip in bell.service.clips)
    thumb = bell.service.clips[clip].manifest.objects[ObjectName.THUMB].payload
    swapped = bell.service.receipt(clip, ObjectName.FILE, thumb)
    bell.service.acknowledge(Ack(receipts=(swapped,)))
    await until(lambda: len(facts.named("message_dropped")) == 1)
    (waiting,) = bell.outbox.pending_clips()
    assert ObjectName.FILE in waiting.missing


async def test_statements_that_follow_are_taken_over_and_told(bell: Bell) -> None:
    first = first_head()
    listed = successor(first, devices=(FRONT_DOOR.device,))
    bell.service.statements = [first.signed, listed]
    bell.line.connect()
    await until(lambda: len(bell.heads) == 1)
    assert bell.heads == [accept_next(first, listed)]
    assert bell.membership.sealing() is not None
    # Again, as after the next hello: no news.
    bell.line.disconnect()
    bell.line.connect()
    await until(lambda: len(bell.service.hellos) == 3)
    await bell.settle()
    assert len(bell.heads) == 1


async def test_a_long_chain_is_asked_for_until_nothing_more_comes(bell: Bell) -> None:
    head, chain = first_head(), [first_head().signed]
    for _ in range(9):
        chain.append(successor(head))
        head = accept_next(head, chain[-1])
    bell.service.statements, bell.service.most_statements = chain, 2
    bell.line.connect()
    await until(lambda: bell.membership.head == head, "the whole chain")
    await until(lambda: len(bell.service.hellos) == 6)
    await bell.settle()
    named = [hello.statement.seq if hello.statement else None for hello in bell.service.hellos]
    assert named == [None, 1, 3, 5, 7, 9]


async def test_a_hello_that_was_lost_is_said_again_by_and_by(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bell.end()
    monkeypatch.setattr(uplink_module, "HELLO_EVERY_S", 0.0)
    monkeypatch.setattr(uplink_module, "HELLO_AT_LEAST_S", 0.01)
    bell.running = asyncio.create_task(bell.uplink.run())
    bell.line.connect()
    await until(lambda: len(bell.service.hellos) > 0)
    bell.service.statements = [first_head().signed]
    await until(lambda: len(bell.heads) == 1, "what was asked for again")


async def test_a_forked_chain_is_an_alarm_and_the_head_stays(bell: Bell, facts: Facts) -> None:
    first = first_head()
    bell.service.statements = [first.signed, successor(first, devices=(FRONT_DOOR.device,))]
    bell.line.connect()
    await until(lambda: len(bell.heads) == 1)
    head = bell.membership.head
    bell.service.tell_statements(successor(first, devices=(doorbell("back").device,)))
    await until(lambda: len(facts.named("message_refused")) == 1)
    assert "two different statements" in str(facts.named("message_refused")[0]["reason"])
    assert bell.membership.head is head
    assert len(bell.heads) == 1


def with_a_gap() -> Signed:
    """Return a statement whose predecessor the doorbell has never seen."""
    first = first_head()
    second = accept_next(first, successor(first, devices=(FRONT_DOOR.device,)))
    return successor(second)


async def test_a_service_that_leaves_statements_out_is_asked_once_in_a_while(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "HELLO_EVERY_S", 3600)
    # Every hello brings the gap again.
    bell.service.statements = [first_head().signed]
    bell.line.connect()
    await until(lambda: len(bell.service.hellos) == 2)
    bell.service.statements = [with_a_gap()]
    for _ in range(20):
        bell.service.tell_statements(with_a_gap())
    await bell.settle()
    await bell.settle()
    assert len(bell.service.hellos) == 2


async def test_statements_that_are_missing_are_asked_for_and_come(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "HELLO_EVERY_S", 0.001)
    first = first_head()
    bell.service.statements = [first.signed]
    bell.line.connect()
    await until(lambda: len(bell.heads) == 1)
    bell.service.statements = [with_a_gap()]
    bell.service.tell_statements(with_a_gap())
    await until(lambda: len(bell.service.hellos) == 4, "asking again and again")
    bell.service.statements = [successor(first, devices=(FRONT_DOOR.device,)), with_a_gap()]
    await until(lambda: bell.membership.sealing() is not None or len(bell.heads) > 1)
    assert bell.heads[-1].statement.seq == 2


@pytest.mark.parametrize("leaf", [Leaf.ACK, Leaf.STATEMENTS])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"v": 2}', b"\xff", b"{" * 70_000])
async def test_a_message_that_is_none_is_dropped_and_the_next_one_counts(
    bell: Bell, facts: Facts, leaf: Leaf, body: bytes
) -> None:
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.line.say(BOOT.topic(leaf), body)
    bell.line.say("somebody/else", body)
    bell.ring("ring")
    await bell.are_acked()
    dropped = facts.named("message_dropped")
    # An ack without a version is one of version 1, and says nothing.
    assert len(dropped) == (2 if body != b"{}" else 1)


async def test_an_ack_of_something_else_changes_nothing(bell: Bell) -> None:
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    bell.service.loses_acks = 1
    ring = bell.ring("ring")
    stranger = event("stranger").event
    bell.service.tell(Leaf.ACK, Ack(events=(stranger,), announced=(cast("ClipId", stranger),)))
    await bell.settle()
    assert [waiting.event.event for waiting in bell.outbox.pending_events()] == [ring]


async def test_health_is_told_with_the_line_and_whenever_it_changes(bell: Bell) -> None:
    bell.uplink.health_changed()
    await bell.settle()
    assert bell.line.bodies(Leaf.HEALTH) == []
    bell.line.connect()
    await until(lambda: len(bell.line.bodies(Leaf.HEALTH)) == 1)
    bell.camera = CameraState.FAILED
    bell.uplink.health_changed()
    await until(lambda: len(bell.line.bodies(Leaf.HEALTH)) == 2)
    told = [decode_body(Health, body).camera for body in bell.line.bodies(Leaf.HEALTH)]
    assert told == [CameraState.WATCHING, CameraState.FAILED]


@pytest.mark.parametrize("steps", range(8))
async def test_it_ends_when_told_to_whatever_happens_just_then(bell: Bell, steps: int) -> None:
    bell.line.connect()
    await bell.settle()
    bell.uplink.nudge()
    bell.uplink.health_changed()
    for _ in range(steps):
        await asyncio.sleep(0)
    await bell.end()


def test_what_was_never_sent_is_due_and_then_not_for_two_seconds() -> None:
    attempts = Attempts(lambda: 0.0, 4)
    assert attempts.is_due("ring", 0)
    assert attempts.next_us(0) is None
    assert attempts.sent("ring", 0)
    assert not attempts.is_due("ring", 2 * SECOND_US - 1)
    assert attempts.is_due("ring", 2 * SECOND_US)
    assert not attempts.sent("ring", 2 * SECOND_US)


def test_what_was_tried_least_goes_first_and_no_more_than_fits() -> None:
    attempts = Attempts(lambda: 0.0, 3)
    assert attempts.choose("abcdef", 0) == ["a", "b", "c"]
    attempts.sent("a", 0)
    attempts.sent("b", 0)
    assert attempts.choose("abcdef", 0) == ["c"]
    # What was not acknowledged in two seconds leaves its place, and comes after the others.
    assert attempts.choose("abcdef", 2 * SECOND_US) == ["c", "d", "e"]
    assert attempts.choose("abc", 2 * SECOND_US) == ["c", "a", "b"]


@given(
    sent=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 10**9)), max_size=20),
    waiting=st.sets(st.sampled_from("abcd")),
)
def test_attempts_remember_what_waits_and_nothing_else(
    sent: list[tuple[str, int]], waiting: set[str]
) -> None:
    attempts = Attempts(lambda: 0.5, 4)
    for item, at_us in sent:
        attempts.sent(item, at_us)
    attempts.forget(attempts.items - waiting)
    known = {item for item, _ in sent} & waiting
    assert (attempts.next_us(0) is None) == (not known)
    assert all(attempts.is_due(item, 0) for item in set("abcd") - known)
    attempts.restart()
    assert attempts.next_us(0) is None
    assert all(attempts.is_due(item, 0) for item in "abcd")


@given(steps=st.lists(st.tuples(st.sets(st.sampled_from("abcdefgh")), st.integers(1, 3 * 10**6))))
def test_whatever_waits_no_more_than_fit_are_on_their_way_and_it_wakes_when_one_may_go(
    steps: list[tuple[set[str], int]],
) -> None:
    attempts, now_us, sent_us = Attempts(lambda: 0.5, 3), 0, dict[str, int]()
    for waiting, pause_us in steps:
        attempts.forget(attempts.items - waiting)
        sent_us = {item: at for item, at in sent_us.items() if item in waiting}
        for item in attempts.choose(sorted(waiting), now_us):
            attempts.sent(item, now_us)
            sent_us[item] = now_us
        on_their_way = [at for at in sent_us.values() if at + 2 * SECOND_US > now_us]
        assert len(on_their_way) <= 3
        left = attempts.choose(sorted(waiting), now_us)
        assert left == []
        if waiting:
            wake_us = attempts.next_us(now_us)
            assert wake_us is not None
            assert wake_us > now_us
        now_us += pause_us


# ── commands ──


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands follow one another without a pause."""
    monkeypatch.setattr(uplink_module, "COMMAND_EVERY_S", 0.0)


def answers(bell: Bell) -> list[Answer]:
    """Return what was answered to commands."""
    return [decode_body(Answer, body) for body in bell.line.bodies(Leaf.DELETE_ANSWER)]


def order(bell: Bell, signed: Signed) -> None:
    """Let a command arrive."""
    bell.line.say(BOOT.topic(Leaf.DELETE), signed.encode())


@pytest.fixture
async def owned(bell: Bell, at_once: None) -> Bell:
    """A doorbell that is online and knows its owner."""
    del at_once
    bell.membership.accept([first_head().signed])
    bell.line.connect()
    await until(lambda: bell.uplink.is_online)
    return bell


async def test_a_command_is_done_and_answered(owned: Bell, facts: Facts) -> None:
    clip = owned.record()
    order(owned, delete_order([clip]))
    await until(lambda: bool(answers(owned)))
    assert answers(owned) == [Answer(counter=1, is_done=True)]
    assert owned.outbox.pending_clips() == ()
    assert owned.deletions == 1
    assert facts.named("command_done") == [{"counter": 1}]


async def test_a_command_that_is_said_again_is_answered_again(owned: Bell) -> None:
    for _ in range(3):
        order(owned, delete_order(until=NOW_MS))
    await until(lambda: len(answers(owned)) == 3)
    assert set(answers(owned)) == {Answer(counter=1, is_done=True)}


async def test_a_command_in_vain_is_answered_with_the_reason(owned: Bell, facts: Facts) -> None:
    order(owned, delete_order(until=NOW_MS, counter=2))
    order(owned, delete_order(until=NOW_MS, counter=1))
    await until(lambda: len(answers(owned)) == 2)
    refused = Answer(counter=1, is_done=False, reason=OVERTAKEN)
    assert answers(owned)[1] == refused
    assert facts.named("command_refused") == [{"counter": 1, "reason": OVERTAKEN}]


async def test_an_answer_that_was_lost_is_given_when_the_command_comes_again(owned: Bell) -> None:
    clip = owned.record()
    owned.line.is_up = False
    order(owned, delete_order([clip]))
    await until(lambda: owned.deletions == 1)
    owned.line.connect()
    order(owned, delete_order([clip]))
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])


async def test_a_command_of_an_owner_not_known_yet_is_not_answered_until_it_can_be(
    owned: Bell, facts: Facts
) -> None:
    second = person("second")
    roster = (*first_head().statement.roster, second.member)
    signed = delete_order(until=NOW_MS, signer=second)
    order(owned, signed)
    await until(lambda: bool(facts.named("command_refused")))
    assert answers(owned) == []
    owned.service.tell_statements(successor(first_head(), roster=roster))
    order(owned, signed)
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])


TOO_LONG = delete_order(until=NOW_MS, counter=9).encode() + b" " * MAX_COMMAND_BYTES


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[" * 4000, b"\xff" * 100, TOO_LONG, b'{"body":"e30","sigs":[]}'],
    ids=lambda body: f"{body[:8]!r} and so on, {len(body)} bytes",
)
async def test_what_is_no_command_is_dropped_and_told(
    owned: Bell, facts: Facts, body: bytes
) -> None:
    owned.line.say(BOOT.topic(Leaf.DELETE), body)
    order(owned, delete_order(until=NOW_MS))
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])
    assert len(facts.named("message_dropped")) == 1


async def test_a_flood_of_commands_delays_no_ring_and_is_mostly_dropped(
    owned: Bell, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uplink_module, "COMMAND_EVERY_S", 0.001)
    forged = delete_order(until=NOW_MS, signer=person("stranger"))
    for _ in range(10_000):
        order(owned, forged)
    ring = owned.ring("ring")
    assert owned.times(ring) == 1
    await owned.are_acked()
    await until(owned.line._happenings.empty, "the end of the flood")
    # No line of the log for each: what is dropped is told once, and most of it is dropped.
    assert len(facts.named("commands_dropped")) < 10
    assert len(facts.named("command_refused")) < 1_000
    await until(owned.uplink._orders.empty, "room for a command")
    order(owned, delete_order(until=NOW_MS))
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])


async def test_a_command_waits_for_the_clip_under_way_and_is_answered_when_it_has_ended(
    owned: Bell,
) -> None:
    door = Door(owned.outbox)
    door.watch(3)
    door.ring("under way")
    door.watch(1)
    order(owned, delete_order(until=NOW_MS + 60_000))
    await until(lambda: owned.deletions == 1)
    assert answers(owned) == []
    door.recorder.stop()
    owned.uplink.look_at_commands()
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])
    assert owned.outbox.usage().waiting_clips == 0


async def test_a_card_that_takes_no_writes_puts_a_command_off(owned: Bell, facts: Facts) -> None:
    clip = owned.record()
    owned.disk.make_read_only()
    order(owned, delete_order([clip]))
    await until(lambda: bool(facts.named("command_put_off")))
    assert answers(owned) == []
    owned.disk.make_read_only(is_read_only=False)
    owned.say_hello_again()
    order(owned, delete_order([clip]))
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])


@pytest.mark.parametrize("trouble", [DiskFullError, DiskBrokenError])
async def test_a_command_that_was_put_off_is_not_overtaken_by_the_next(
    owned: Bell, facts: Facts, monkeypatch: pytest.MonkeyPatch, trouble: type[DoorstepError]
) -> None:
    """Else it would be refused for good, and its clip would stay."""
    first, second = owned.record(), owned.record()
    orders = [delete_order([first]), delete_order([second], counter=2)]
    with monkeypatch.context() as patch:
        patch.setattr(owned.commands._outbox, "clips_among", _raise(trouble("the card is unwell")))
        order(owned, orders[0])
        order(owned, orders[1])
        await until(lambda: bool(facts.named("command_put_off")))
    order(owned, orders[1])  # it was on its way, and the card is well again
    # A hello so soon brings nothing new, and lets nothing by.
    owned.line.connect()
    order(owned, orders[1])
    await owned.settle()
    assert answers(owned) == []
    owned.say_hello_again()
    for again in orders:
        order(owned, again)
    await until(lambda: len(answers(owned)) == 2)
    assert answers(owned) == [Answer(counter=n, is_done=True) for n in (1, 2)]
    assert owned.outbox.pending_clips() == ()


async def test_commands_that_wait_for_a_clips_end_hold_up_no_new_one(
    owned: Bell, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken before is on the card: nothing can overtake it."""
    with monkeypatch.context() as patch:
        patch.setattr(owned.commands, "finish", _raise(DiskFullError("the card is full")))
        owned.uplink.look_at_commands()
        await until(lambda: bool(facts.named("command_put_off")))
    order(owned, delete_order(until=NOW_MS))
    await until(lambda: answers(owned) == [Answer(counter=1, is_done=True)])


def _raise(error: DoorstepError) -> Callable[..., object]:
    def fail(*_: object) -> object:
        raise error

    return fail
