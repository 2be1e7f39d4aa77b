"""The bulk connection: clips arrive whole, however often the line or the service fails."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from doorstep_device.delivery import Delivery
from doorstep_device.outbox import Outbox
from doorstep_device.ports.broker import Message
from doorstep_device.ports.disk import DiskBrokenError
from doorstep_device.worker import Worker
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ClipKind, ObjectName
from doorstep_shared.topics import Command, DeviceTopic, Leaf, TransferTopic, parse_topic
from doorstep_shared.transfer import Code, Reason, Reply, Subject, encode_reply, sender
from doorstep_shared.unseal import open_age_file
from doorstep_shared.wire import Ack
from doorstep_simulator.disk import SimulatedDisk
from tests.far_end import PATIENCE_S, ScriptedBroker, ScriptedService, until
from tests.people import FRONT_DOOR, epoch_identity
from tests.recording import RECEIPT_KEY, Door, open_outbox

SECOND_US = 1_000_000


@dataclass(slots=True)
class Bell:
    """A delivery with its outbox; the service has heard of every clip it was told."""

    outbox: Outbox = field(default_factory=lambda: open_outbox(SimulatedDisk()))
    worker: Worker = field(default_factory=Worker)
    control: ScriptedBroker = field(default_factory=ScriptedBroker)
    bulk: ScriptedBroker = field(default_factory=ScriptedBroker)
    ahead_us: int = 0
    unknown: list[ClipId] = field(default_factory=list)
    service: ScriptedService = field(init=False)
    delivery: Delivery = field(init=False)
    running: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        device = FRONT_DOOR.device.id
        self.service = ScriptedService(device, self.control, self.bulk, RECEIPT_KEY)
        self.service.says = self._heed
        self.delivery = Delivery(
            self.bulk,
            device,
            worker=self.worker,
            outbox=self.outbox,
            now_us=self.now_us,
            announce_again=self.announce,
        )

    def now_us(self) -> int:
        """Return the time, as far ahead as the test has gone."""
        return time.monotonic_ns() // 1000 + self.ahead_us

    def pass_s(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self.ahead_us += round(seconds * SECOND_US)
        self.delivery.nudge()

    def _heed(self, ack: Ack) -> Ack:
        """Do what the uplink does with an ack: receipts count, announced clips may go."""
        for clip in ack.announced:
            self.outbox.mark_announced(clip)
        for receipt in ack.receipts:
            self.outbox.mark_receipt(receipt, 0)
        self.delivery.nudge()
        return ack

    def start(self) -> None:
        self.running = asyncio.create_task(self.delivery.run())

    async def end(self) -> None:
        """Cancel the delivery; it ends."""
        assert self.running is not None
        self.running.cancel()
        await asyncio.wait([self.running], timeout=PATIENCE_S)
        assert self.running.cancelled()
        self.worker.close()

    def record(self, kind: ClipKind = ClipKind.RING, seconds: float = 3) -> ClipId:
        """Store a clip."""
        door = Door(self.outbox)
        door.watch(2)
        (door.ring if kind is ClipKind.RING else door.move)(f"{kind} {seconds}")
        door.watch(seconds)
        door.recorder.stop()
        (clip,) = door.recorder.take_finished()
        return clip

    def announce(self, clip: ClipId) -> None:
        """Tell the service of a clip, as the uplink would."""
        self.unknown.append(clip)
        self.control.is_up = True
        topic = DeviceTopic(FRONT_DOOR.device.id, Leaf.CLIP)
        self.control.publish(str(topic), self.outbox.announcement(clip).encode())

    def recorded(self, *kinds: ClipKind) -> list[ClipId]:
        """Store clips and announce them."""
        clips = [self.record(kind, 3 + number) for number, kind in enumerate(kinds)]
        for clip in clips:
            self.announce(clip)
        self.unknown.clear()
        return clips

    async def are_stored(self, *clips: ClipId) -> None:
        """Wait until the service has it all and the doorbell knows."""
        await until(
            lambda: all(map(self.service.has_all_of, clips)) and not self.outbox.pending_clips(),
            "the end of the delivery",
        )

    def stored(self, clip: ClipId, name: ObjectName) -> bytes:
        """Return an object as the household would open it."""
        kept = self.service.clips[clip]
        envelope = getattr(kept.announcement.envelopes, name.value)
        return open_age_file(envelope + kept.stored[name], [epoch_identity(1)])

    def objects_begun(self) -> list[tuple[ClipId, ObjectName]]:
        """Return which objects were begun, each once, in order."""
        topics = [parse_topic(message.topic) for message in self.bulk.sent]
        begun = [
            (topic.clip, topic.object)
            for topic in topics
            if isinstance(topic, TransferTopic) and topic.command is Command.INIT
        ]
        return list(dict.fromkeys(begun))


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that asks again after milliseconds, so that no test waits for its watchdog."""
    monkeypatch.setattr(sender, "WATCHDOG_US", 10_000)
    monkeypatch.setattr(sender, "PAUSE_US", 1_000)


@pytest.fixture
async def bell() -> AsyncIterator[Bell]:
    """A doorbell's delivery, running and not yet connected."""
    found = Bell()
    found.start()
    yield found
    await found.end()


async def test_every_object_of_a_clip_arrives_and_opens(bell: Bell) -> None:
    (clip,) = bell.recorded(ClipKind.RING)
    bell.bulk.connect()
    await bell.are_stored(clip)
    assert bell.stored(clip, ObjectName.FILE)[4:8] == b"ftyp"
    assert bell.stored(clip, ObjectName.THUMB)[:2] == b"\xff\xd8"
    assert bell.stored(clip, ObjectName.DETAILS)[:1] == b"{"


async def test_rings_go_first_and_of_each_clip_what_is_small(bell: Bell) -> None:
    motion, ring = bell.recorded(ClipKind.MOTION, ClipKind.RING)
    bell.bulk.connect()
    await bell.are_stored(motion, ring)
    order = [ObjectName.THUMB, ObjectName.DETAILS, ObjectName.FILE]
    assert bell.objects_begun() == [(clip, name) for clip in (ring, motion) for name in order]


async def test_nothing_is_sent_before_the_clip_is_announced(bell: Bell) -> None:
    clip = bell.record()
    bell.bulk.connect()
    bell.delivery.nudge()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert bell.bulk.sent == []
    bell.announce(clip)
    await bell.are_stored(clip)


async def test_a_clip_the_service_has_forgotten_is_announced_again(bell: Bell) -> None:
    (clip,) = bell.recorded(ClipKind.RING)
    bell.service.clips.clear()
    bell.bulk.connect()
    await bell.are_stored(clip)
    assert clip in bell.unknown


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # a delivery that hangs is not worth repeating
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    acks=st.integers(0, 3),
    replies=st.integers(0, 4),
    segments=st.integers(0, 3),
    breaks=st.lists(st.integers(0, 6), max_size=4),
)
def test_it_arrives_whatever_gets_lost_and_however_often_the_line_breaks(
    acks: int, replies: int, segments: int, breaks: list[int]
) -> None:
    async def deliver() -> None:
        bell = Bell()
        bell.start()
        clips = bell.recorded(ClipKind.RING, ClipKind.MOTION)
        bell.service.loses_acks = acks
        bell.service.loses_replies = replies
        bell.service.loses_segments = segments
        for messages in breaks:
            bell.bulk.connect()
            bell.bulk.fails_after = messages
            before = len(bell.bulk.sent)
            for _ in range(10):
                if len(bell.bulk.sent) >= before + messages:
                    break
                await asyncio.sleep(0.001)
            bell.bulk.disconnect()
        bell.bulk.connect()
        # A receipt that got lost is asked for again.
        while bell.outbox.pending_clips():
            await until(lambda: all(map(bell.service.has_all_of, clips)))
            bell.pass_s(10)
            await asyncio.sleep(0.001)
        for clip in clips:
            assert bell.stored(clip, ObjectName.FILE)[4:8] == b"ftyp"
        await bell.end()

    asyncio.run(deliver())


async def test_when_the_service_is_back_an_object_waits_for_no_patience(bell: Bell) -> None:
    (clip,) = bell.recorded(ClipKind.RING)
    heed, bell.bulk.on_sent = bell.bulk.on_sent, lambda _: None  # the service is away
    bell.bulk.connect()
    await until(lambda: len(bell.bulk.sent) == 1, "its first question")
    bell.bulk.on_sent = heed
    bell.delivery.service_is_back()
    await bell.are_stored(clip)


async def test_what_is_stored_without_a_receipt_is_asked_for_again_after_ten_seconds(
    bell: Bell,
) -> None:
    (clip,) = bell.recorded(ClipKind.RING)
    bell.service.loses_acks = 1  # the receipt of the thumbnail, which goes first
    bell.bulk.connect()
    await until(lambda: bell.service.has_all_of(clip))
    await until(lambda: [c.missing for c in bell.outbox.pending_clips()] == [(ObjectName.THUMB,)])
    begun = len(bell.bulk.sent)
    bell.pass_s(9)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(bell.bulk.sent) == begun
    bell.pass_s(1)
    await bell.are_stored(clip)


def refusal(clip: ClipId, name: ObjectName, code: Code, reason: str = "") -> bytes:
    usual = "quarantined" if code is Code.NEVER else "not_now"
    return encode_reply(
        Reply(clip=clip, object=name, subject=Subject.INIT, code=code, reason=reason or usual)
    )


def refuse_all(bell: Bell, code: Code, *, of: ClipId, reason: str = "") -> None:
    """Let the service refuse every transfer of one clip."""
    answer = bell.bulk.on_sent
    reply_topic = str(DeviceTopic(FRONT_DOOR.device.id, Leaf.FILE_REPLY))

    def heed(message: Message) -> None:
        topic = parse_topic(message.topic)
        if isinstance(topic, TransferTopic) and topic.clip == of:
            bell.bulk.say(reply_topic, refusal(of, topic.object, code, reason))
        else:
            answer(message)

    bell.bulk.on_sent = heed


async def test_a_transfer_refused_as_deleted_has_its_clip_announced_for_the_proof(
    bell: Bell,
) -> None:
    (clip,) = bell.recorded(ClipKind.RING)
    refuse_all(bell, Code.NEVER, of=clip, reason=Reason.DELETED)
    bell.bulk.connect()
    await until(lambda: clip in bell.unknown)
    # Nobody signed that: it is still here.
    assert [kept.clip for kept in bell.outbox.pending_clips()] == [clip]


async def test_what_is_refused_for_good_waits_a_day_and_the_next_clip_goes(bell: Bell) -> None:
    bad, good = bell.recorded(ClipKind.RING, ClipKind.MOTION)
    honest = bell.bulk.on_sent
    refuse_all(bell, Code.NEVER, of=bad)
    bell.bulk.connect()
    await until(lambda: bell.service.has_all_of(good))
    assert [clip.clip for clip in bell.outbox.pending_clips()] == [bad]
    bell.bulk.on_sent = honest
    sent = len(bell.bulk.sent)
    bell.pass_s(24 * 3600)
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(bell.bulk.sent) == sent
    # It was a forgery, or the service has thought better of it.
    bell.pass_s(3600)
    await bell.are_stored(bad, good)


@pytest.mark.parametrize("code", [Code.NOT_ALLOWED, Code.MALFORMED])
async def test_what_is_refused_for_now_waits_a_minute_and_the_next_clip_goes(
    bell: Bell, code: Code
) -> None:
    bad, good = bell.recorded(ClipKind.RING, ClipKind.MOTION)
    honest = bell.bulk.on_sent
    refuse_all(bell, code, of=bad)
    bell.bulk.connect()
    await until(lambda: bell.service.has_all_of(good))
    bell.bulk.on_sent = honest
    bell.pass_s(61)
    await bell.are_stored(bad, good)


async def test_a_clip_that_gives_way_amid_its_delivery_is_aborted(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, good = bell.recorded(ClipKind.RING, ClipKind.MOTION)
    read = bell.outbox.read_payload

    def evict_and_read(clip: ClipId, name: ObjectName, offset: int, size: int) -> bytes:
        if clip == gone and gone in bell.outbox._kept:
            bell.outbox._remove(bell.outbox._kept[gone])
        return read(clip, name, offset, size)

    monkeypatch.setattr(bell.outbox, "read_payload", evict_and_read)
    bell.bulk.connect()
    await bell.are_stored(good)
    topics = [parse_topic(message.topic) for message in bell.bulk.sent]
    aborted = [t.clip for t in topics if isinstance(t, TransferTopic) and t.command.name == "ABORT"]
    assert aborted == [gone]


async def test_a_clip_the_card_cannot_read_does_not_hold_up_the_others(
    bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = bell.recorded(ClipKind.RING, ClipKind.MOTION)
    read = bell.outbox.read_payload

    def fail_to_read(clip: ClipId, name: ObjectName, offset: int, size: int) -> bytes:
        if clip == bad:
            raise DiskBrokenError("a page of the card cannot be read")
        return read(clip, name, offset, size)

    monkeypatch.setattr(bell.outbox, "read_payload", fail_to_read)
    bell.bulk.connect()
    await until(lambda: bell.service.has_all_of(good))
    assert [clip.clip for clip in bell.outbox.pending_clips()] == [bad]
    monkeypatch.undo()
    bell.pass_s(61)
    await bell.are_stored(bad)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"v": 2}', b"\xff", b"{" * 70_000])
async def test_a_reply_that_is_none_is_dropped(bell: Bell, body: bytes) -> None:
    (clip,) = bell.recorded(ClipKind.RING)
    bell.bulk.connect()
    for _ in range(3):
        bell.bulk.say(str(DeviceTopic(FRONT_DOOR.device.id, Leaf.FILE_REPLY)), body)
    await bell.are_stored(clip)


async def test_a_reply_about_something_else_changes_nothing(bell: Bell) -> None:
    bad, good = bell.recorded(ClipKind.MOTION, ClipKind.RING)
    bell.service.loses_replies = 1
    bell.bulk.connect()
    await until(lambda: len(bell.bulk.sent) == 1)
    topic = str(DeviceTopic(FRONT_DOOR.device.id, Leaf.FILE_REPLY))
    bell.bulk.say(topic, refusal(bad, ObjectName.THUMB, Code.NEVER))  # not the object under way
    await bell.are_stored(good, bad)


@pytest.mark.parametrize("steps", range(8))
async def test_it_ends_when_told_to_whatever_happens_just_then(steps: int) -> None:
    bell = Bell()
    bell.start()
    bell.recorded(ClipKind.RING)
    bell.service.loses_replies = 10**6
    bell.bulk.connect()
    await until(lambda: len(bell.bulk.sent) == 1)
    bell.bulk.disconnect()
    bell.delivery.nudge()
    for _ in range(steps):
        await asyncio.sleep(0)
    await bell.end()


async def test_the_transfer_of_a_clip_that_is_deleted_stops_at_once(bell: Bell) -> None:
    bell.service.credit = 0  # it waits, and would not look into the outbox for a long time
    (clip,) = bell.recorded(ClipKind.RING)
    bell.bulk.connect()
    await until(lambda: bool(bell.objects_begun()))
    bell.outbox.delete([clip])
    bell.delivery.clips_deleted()
    await until(lambda: Command.ABORT in commands(bell), "the end of the transfer")
    bell.service.credit = 4
    (other,) = bell.recorded(ClipKind.MOTION)
    bell.delivery.nudge()
    await bell.are_stored(other)


async def test_the_transfer_of_another_clip_goes_on_when_one_is_deleted(bell: Bell) -> None:
    ring, motion = bell.recorded(ClipKind.RING, ClipKind.MOTION)
    bell.bulk.connect()
    await until(lambda: bool(bell.objects_begun()))
    bell.outbox.delete([motion])
    for _ in range(5):
        bell.delivery.clips_deleted()
    await until(lambda: bell.service.has_all_of(ring))
    assert Command.ABORT not in commands(bell)


def commands(bell: Bell) -> list[Command]:
    """Return what was said of transfers, segments left out."""
    topics = [parse_topic(message.topic) for message in bell.bulk.sent]
    return [topic.command for topic in topics if isinstance(topic, TransferTopic)]
