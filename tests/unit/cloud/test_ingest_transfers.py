"""Payloads under way, with real databases and a real spool; broker and object store are played."""

import threading
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from doorstep_cloud.clips.service import announce, record_stored
from doorstep_cloud.ingest import transfers
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.rules import decide_credit
from doorstep_cloud.ingest.storing import (
    Conflicted,
    Failed,
    Mismatched,
    Outcome,
    Stored,
    StoreRoom,
)
from doorstep_cloud.ingest.transfers import DEVICE_TRANSFERS, NOT_IN_MANIFEST, TransferDesk
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.spool import Spool, SpoolKey
from doorstep_shared.errors import TryLaterError
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ObjectName, PayloadFacts
from doorstep_shared.receipts import Receipt, sign_receipt
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import (
    Command,
    DeviceTopic,
    Leaf,
    SegmentTopic,
    TransferTopic,
    parse_topic,
)
from doorstep_shared.transfer import (
    CHUNK_BYTES,
    Code,
    Init,
    Reason,
    Reply,
    Subject,
    decode_reply,
    encode_init,
)
from doorstep_shared.wire import Ack, decode_body
from tests.cloud_world import House
from tests.people import (
    HOUSEHOLD,
    NOW_MS,
    Doorbell,
    doorbell,
    epoch_identity,
    person,
    random_from,
)
from tests.scripted_doorbell import Clip, make_clip
from tests.services import store_nowhere, wait_until

FRONT = doorbell("front")
BACK = doorbell("back")
NEXT_DOOR = doorbell("next-door")
RECIPIENT = epoch_identity(1).recipient()
RECEIPT_KEY = SigningKey.generate(random_from("receipt"))
FILE = ObjectName.FILE


class PlayedRoom(StoreRoom):
    """A store room that answers as the test says, and waits while it is told to."""

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases, store_nowhere(), RECEIPT_KEY, lambda: NOW_MS)
        self._rows = databases
        self.outcome: Outcome | Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def keep(self, key: SpoolKey, facts: PayloadFacts, path: Path) -> Outcome:
        assert path.is_file()
        self.gate.wait(20)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            return self.outcome
        receipt = Receipt(
            device=key.device,
            clip=key.clip,
            object=key.object,
            size=facts.length,
            sha256=facts.sha256,
        )
        signed = sign_receipt(receipt, RECEIPT_KEY).encode()
        with self._rows.write() as unit:
            record_stored(unit, key.clip, key.object, signed, NOW_MS)
            unit.commit()
        return Stored(signed)


class Desk:
    """A transfer desk, driven by hand."""

    def __init__(
        self,
        databases: Databases,
        folder: Path,
        household_limit_bytes: int = transfers.HOUSEHOLD_LIMIT_BYTES,
    ) -> None:
        self.room = PlayedRoom(databases)
        self.counters = IngestCounters()
        self.spool = Spool(folder)
        self.replies: list[Reply] = []
        self.receipts = 0
        self._databases = databases
        self.desk = TransferDesk(
            databases,
            self.spool,
            self.room,
            self._publish,
            self.counters,
            workers=1,
            household_limit_bytes=household_limit_bytes,
        )

    def _publish(self, topic: str, body: bytes) -> None:
        parsed = parse_topic(topic)
        assert isinstance(parsed, DeviceTopic)
        if parsed.leaf is Leaf.ACK:
            self.receipts += len(decode_body(Ack, body).receipts)
        else:
            self.replies.append(decode_reply(body))

    def restarted(self, folder: Path) -> "Desk":
        self.desk.stop()
        again = Desk(self._databases, folder)
        again.desk.resume()
        return again

    def command(
        self, clip: Clip, command: Command, *, name: ObjectName = FILE, body: bytes | None = None
    ) -> Reply | None:
        """Send a command and return the reply that came at once, if one did."""
        before = len(self.replies)
        init = encode_init(Init()) if command is Command.INIT else b""
        device = clip.manifest.device
        topic = TransferTopic(device, clip.id, name, command)
        self.desk.take(topic, init if body is None else body)
        return self.replies[-1] if len(self.replies) > before else None

    def segment(self, clip: Clip, offset: int, *, name: ObjectName = FILE) -> Reply:
        payload = clip.boxes[name].payload[offset : offset + CHUNK_BYTES]
        self.desk.take(SegmentTopic(clip.manifest.device, clip.id, name, offset), payload)
        return self.replies[-1]

    def fin(self, clip: Clip, *, name: ObjectName = FILE) -> Reply:
        """Send `fin` and return its reply, once it came."""
        before = len(self.replies)
        self.command(clip, Command.FIN, name=name)
        wait_until(lambda: len(self.replies) > before, what="the reply to fin")
        return self.replies[-1]

    def bring(self, clip: Clip, *, name: ObjectName = FILE) -> Reply:
        self.command(clip, Command.INIT, name=name)
        for offset in range(0, len(clip.boxes[name].payload), CHUNK_BYTES):
            self.segment(clip, offset, name=name)
        return self.fin(clip, name=name)


@pytest.fixture
def house(house: House) -> House:
    house.welcome(FRONT, BACK)
    return house


@pytest.fixture
def desk(databases: Databases, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(databases, tmp_path / "spool")
    yield desk
    desk.room.gate.set()
    desk.desk.stop()


pytestmark = pytest.mark.usefixtures("house")


def clip_of(
    databases: Databases,
    seed: int = 0,
    *,
    bell: Doorbell = FRONT,
    size: int = 300_000,
    household: HouseholdId = HOUSEHOLD,
) -> Clip:
    """Return an announced clip of one object."""
    clip = make_clip(bell, household, RECIPIENT, seed=seed, sizes={FILE: size})
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()
    return clip


def spooled(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "spool").rglob("*") if path.is_file())


def test_an_object_is_brought_stored_and_receipted(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases)
    reply = desk.bring(clip)
    assert (reply.subject, reply.code) == (Subject.FIN, Code.OK)
    assert desk.receipts == 1
    assert spooled(tmp_path) == []


def test_a_stored_object_is_done_again_with_its_receipt(desk: Desk, databases: Databases) -> None:
    clip = clip_of(databases)
    desk.bring(clip)
    reply = desk.command(clip, Command.INIT)
    assert reply is not None
    assert (reply.code, reply.upto) == (Code.OK, clip.manifest.file.payload.length)
    assert desk.fin(clip).code is Code.OK
    assert desk.receipts == 2


def test_an_unknown_clip_is_to_be_announced_first(desk: Desk) -> None:
    clip = make_clip(FRONT, HouseholdId("h" * 26), RECIPIENT, sizes={FILE: 10})
    for command in Command:
        reply = desk.command(clip, command)
        assert reply is not None
        assert (reply.code, reply.reason) == (Code.PAUSE, Reason.CLIP_UNKNOWN)


def test_another_doorbells_clip_is_as_unknown_as_none(desk: Desk, databases: Databases) -> None:
    clip = clip_of(databases)
    topic = TransferTopic(BACK.device.id, clip.id, FILE, Command.INIT)
    desk.desk.take(topic, encode_init(Init()))
    assert desk.replies[-1].reason == Reason.CLIP_UNKNOWN


def test_a_stranger_gets_no_answer(desk: Desk) -> None:
    clip = make_clip(doorbell("stranger"), HouseholdId("h" * 26), RECIPIENT, sizes={FILE: 10})
    assert desk.command(clip, Command.INIT) is None
    assert desk.counters[Count.DROPPED_UNKNOWN_SENDER] == 1


def test_an_object_the_manifest_does_not_name_is_not_allowed(
    desk: Desk, databases: Databases
) -> None:
    reply = desk.command(clip_of(databases), Command.INIT, name=ObjectName.THUMB)
    assert reply is not None
    assert (reply.code, reply.reason) == (Code.NOT_ALLOWED, NOT_IN_MANIFEST)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"v":1,"chunk":1}', b"\xff" * 2000])
def test_a_malformed_init_is_said_to_be_one(desk: Desk, databases: Databases, body: bytes) -> None:
    reply = desk.command(clip_of(databases), Command.INIT, body=body)
    assert reply is not None
    assert reply.code is Code.MALFORMED


def test_segments_of_a_transfer_nobody_began_are_not_kept(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    reply = desk.segment(clip_of(databases), 0)
    assert (reply.code, reply.reason) == (Code.MISSING, Reason.INIT_FIRST)
    assert spooled(tmp_path) == []


def test_what_does_not_fit_the_manifest_is_not_kept(desk: Desk, databases: Databases) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    beyond = SegmentTopic(FRONT.device.id, clip.id, FILE, 10 * CHUNK_BYTES)
    desk.desk.take(beyond, bytes(CHUNK_BYTES))
    assert desk.replies[-1].code is Code.NEVER
    crooked = SegmentTopic(FRONT.device.id, clip.id, FILE, 1)
    desk.desk.take(crooked, bytes(CHUNK_BYTES))
    assert desk.replies[-1].code is Code.NEVER
    long = SegmentTopic(FRONT.device.id, clip.id, FILE, 0)
    desk.desk.take(long, bytes(CHUNK_BYTES + 1))
    assert desk.replies[-1].code is Code.NEVER


def test_after_a_restart_only_what_is_missing_is_asked_for(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    desk.segment(clip, CHUNK_BYTES)
    again = desk.restarted(tmp_path / "spool")
    reply = again.command(clip, Command.INIT)
    assert reply is not None
    assert reply.have.spans == ((CHUNK_BYTES, 2 * CHUNK_BYTES),)
    again.segment(clip, 0)
    again.segment(clip, 2 * CHUNK_BYTES)
    assert again.fin(clip).code is Code.OK
    again.desk.stop()


def test_a_spool_whose_bytes_did_not_outlive_the_power_begins_again(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    desk.segment(clip, CHUNK_BYTES)
    desk.spool.path(SpoolKey(FRONT.device.id, clip.id, FILE)).write_bytes(b"")
    again = desk.restarted(tmp_path / "spool")
    assert spooled(tmp_path) == []
    reply = again.command(clip, Command.INIT)
    assert reply is not None
    assert reply.have.spans == ()
    again.desk.stop()


def test_what_was_stored_before_a_crash_is_removed_from_the_spool(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    desk.segment(clip, 0)
    with databases.write() as unit:
        record_stored(unit, clip.id, FILE, b"receipt", NOW_MS)
        unit.commit()
    desk.restarted(tmp_path / "spool").desk.stop()
    assert spooled(tmp_path) == []


def test_a_wrong_hash_begins_again_and_the_third_is_the_last(
    desk: Desk, databases: Databases
) -> None:
    clip = clip_of(databases, size=1000)
    desk.room.outcome = Mismatched()
    replies = [desk.bring(clip) for _ in range(3)]
    assert [reply.code for reply in replies] == [Code.MISSING, Code.MISSING, Code.NEVER]
    assert desk.counters[Count.OBJECT_QUARANTINED] == 1


def test_a_quarantined_object_stays_so_over_a_restart(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases, size=1000)
    desk.room.outcome = Conflicted()
    assert desk.bring(clip).code is Code.NEVER
    again = desk.restarted(tmp_path / "spool")
    reply = again.command(clip, Command.INIT)
    assert reply is not None
    assert (reply.code, reply.reason) == (Code.NEVER, Reason.QUARANTINED)
    again.desk.stop()


def test_what_is_refused_for_good_takes_no_room_not_even_after_a_restart(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    desk.room.outcome = Conflicted()
    for seed in range(DEVICE_TRANSFERS + 1):
        assert desk.bring(clip_of(databases, seed, size=100)).code is Code.NEVER
    assert desk.spool.reserved_bytes(FRONT.device.id) == 0
    again = desk.restarted(tmp_path / "spool")
    assert again.spool.reserved_bytes(FRONT.device.id) == 0
    assert again.bring(clip_of(databases, 50)).code is Code.OK
    again.desk.stop()


def test_what_is_refused_for_good_makes_nobody_slower(desk: Desk, databases: Databases) -> None:
    desk.room.outcome = Conflicted()
    with patch.object(transfers, "decide_credit", wraps=decide_credit) as decide:
        desk.bring(clip_of(databases, 0, size=100))
        desk.command(clip_of(databases, 1), Command.INIT)
    assert decide.call_args.args == (1, 0)


def test_of_objects_refused_for_good_only_so_many_are_remembered(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    desk.room.outcome = Conflicted()
    clips = [clip_of(databases, seed, size=100) for seed in range(3)]
    with patch.object(transfers, "DEVICE_QUARANTINED", 2):
        for clip in clips:
            assert desk.bring(clip).code is Code.NEVER
    assert spooled(tmp_path) == ["file.journal"] * 2
    replies = [desk.command(clip, Command.INIT) for clip in clips]
    assert [reply.code for reply in replies if reply] == [Code.OK, Code.NEVER, Code.NEVER]


def test_while_the_store_is_away_the_spool_is_kept(desk: Desk, databases: Databases) -> None:
    clip = clip_of(databases)
    desk.room.outcome = Failed(1234)
    reply = desk.bring(clip)
    assert (reply.code, reply.retry_after_ms) == (Code.AGAIN, 1234)
    desk.room.outcome = None
    resumed = desk.command(clip, Command.INIT)
    assert resumed is not None
    assert resumed.upto == clip.manifest.file.payload.length
    assert desk.fin(clip).code is Code.OK


def test_a_mistake_while_storing_costs_a_retry_and_nothing_else(
    desk: Desk, databases: Databases
) -> None:
    clip = clip_of(databases)
    desk.room.outcome = ValueError("a mistake of ours")
    assert desk.bring(clip).code is Code.AGAIN
    assert desk.counters[Count.CRASHED] == 1
    desk.room.outcome = None
    assert desk.fin(clip).code is Code.OK


def test_a_slow_store_makes_newcomers_wait_and_lets_others_speak(
    desk: Desk, databases: Databases
) -> None:
    desk.room.gate.clear()
    clips = [clip_of(databases, seed, size=100) for seed in range(20)]
    for clip in clips[:16]:
        desk.command(clip, Command.INIT)
        desk.segment(clip, 0)
        desk.command(clip, Command.FIN)
    reply = desk.command(clip_of(databases, bell=BACK), Command.INIT)
    assert reply is not None
    assert (reply.code, reply.reason) == (Code.PAUSE, Reason.BUSY)
    assert reply.retry_after_ms > 0
    desk.room.gate.set()
    wait_until(lambda: desk.receipts == 16)


def test_a_newcomer_that_is_told_to_wait_takes_no_room_meanwhile(
    desk: Desk, databases: Databases
) -> None:
    with patch.object(transfers, "decide_credit", return_value=0):
        reply = desk.command(clip_of(databases), Command.INIT)
    assert reply is not None
    assert reply.code is Code.PAUSE
    assert desk.spool.reserved_bytes(FRONT.device.id) == 0


def test_a_doorbell_that_begins_much_and_ends_nothing_is_told_to_wait(
    desk: Desk, databases: Databases
) -> None:
    replies = [
        desk.command(clip_of(databases, seed), Command.INIT) for seed in range(DEVICE_TRANSFERS + 1)
    ]
    codes = [reply.code for reply in replies if reply is not None]
    assert codes == [*[Code.OK] * DEVICE_TRANSFERS, Code.PAUSE]
    other = desk.command(clip_of(databases, bell=BACK), Command.INIT)
    assert other is not None
    assert other.code is Code.OK


def test_what_was_given_up_makes_room(desk: Desk, databases: Databases) -> None:
    clips = [clip_of(databases, seed) for seed in range(DEVICE_TRANSFERS + 1)]
    for clip in clips[:-1]:
        desk.command(clip, Command.INIT)
    desk.segment(clips[0], 0)
    later = transfers._now_us() + transfers.OWN_IDLE_US + 1
    with patch.object(transfers, "_now_us", lambda: later):
        desk.segment(clips[0], CHUNK_BYTES)
        reply = desk.command(clips[-1], Command.INIT)
        assert reply is not None
        assert reply.code is Code.OK
        # The one still in use was not taken, the one idle for longest was.
        assert desk.segment(clips[0], 2 * CHUNK_BYTES).code is Code.OK
        assert desk.segment(clips[1], 0).reason == Reason.INIT_FIRST


def test_asking_again_without_bringing_anything_keeps_no_place(
    desk: Desk, databases: Databases
) -> None:
    clips = [clip_of(databases, seed) for seed in range(DEVICE_TRANSFERS + 1)]
    for clip in clips[:-1]:
        desk.command(clip, Command.INIT)
    desk.segment(clips[1], 0)
    later = transfers._now_us() + transfers.OWN_IDLE_US + 1
    with patch.object(transfers, "_now_us", lambda: later):
        for clip in clips[:-1]:
            reply = desk.command(clip, Command.INIT)
            assert reply is not None
            assert reply.code is Code.OK
        reply = desk.command(clips[-1], Command.INIT)
        assert reply is not None
        assert reply.code is Code.OK
        assert desk.segment(clips[0], 0).reason == Reason.INIT_FIRST


def test_many_doorbells_of_one_household_take_no_more_than_its_share(
    databases: Databases, tmp_path: Path
) -> None:
    neighbours = House(databases, person("neighbour"), HouseholdId("n" * 26))
    neighbours.welcome(NEXT_DOOR)
    desk = Desk(databases, tmp_path / "spool", household_limit_bytes=1_000_000)
    codes = []
    for seed, bell in enumerate([FRONT, BACK, FRONT, BACK]):
        reply = desk.command(clip_of(databases, seed, bell=bell), Command.INIT)
        assert reply is not None
        codes.append(reply.code)
    assert codes == [Code.OK, Code.OK, Code.OK, Code.PAUSE]
    theirs = clip_of(databases, bell=NEXT_DOOR, household=HouseholdId("n" * 26))
    other = desk.command(theirs, Command.INIT)
    assert other is not None
    assert other.code is Code.OK
    desk.desk.stop()


def test_a_full_spool_makes_its_doorbell_wait(desk: Desk, databases: Databases) -> None:
    big = PayloadFacts(length=32 * 1024 * 1024, sha256=bytes(32))
    for number in range(2):
        key = SpoolKey(FRONT.device.id, clip_of(databases, 50 + number).id, FILE)
        assert desk.spool.reserve(key, big.length)
    reply = desk.command(clip_of(databases, 1), Command.INIT)
    assert reply is not None
    assert reply.code is Code.PAUSE
    other = desk.command(clip_of(databases, 1, bell=BACK), Command.INIT)
    assert other is not None
    assert other.code is Code.OK


def test_a_disk_that_takes_nothing_makes_the_doorbell_wait(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    (tmp_path / "spool" / FRONT.device.id).write_bytes(b"")
    reply = desk.segment(clip, 0)
    assert (reply.code, reply.reason) == (Code.PAUSE, Reason.SPOOL_FULL)


def test_what_was_aborted_is_forgotten(desk: Desk, databases: Databases, tmp_path: Path) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    desk.segment(clip, 0)
    reply = desk.command(clip, Command.ABORT)
    assert reply is not None
    assert reply.code is Code.OK
    assert spooled(tmp_path) == []
    assert desk.spool.reserved_bytes(FRONT.device.id) == 0


def test_what_nobody_touched_for_a_day_is_forgotten(
    desk: Desk, databases: Databases, tmp_path: Path
) -> None:
    clip = clip_of(databases)
    desk.command(clip, Command.INIT)
    desk.segment(clip, 0)
    desk.desk.tick()
    assert spooled(tmp_path) != []
    later = transfers._now_us() + 25 * 3600 * 1_000_000
    with patch.object(transfers, "_now_us", lambda: later):
        desk.desk.tick()
    assert spooled(tmp_path) == []


def test_without_a_database_a_doorbell_is_asked_to_wait(desk: Desk, databases: Databases) -> None:
    clip = clip_of(databases)
    with patch.object(Databases, "read", side_effect=TryLaterError("the database is away")):
        reply = desk.command(clip, Command.INIT)
    assert reply is not None
    assert (reply.code, reply.reason) == (Code.PAUSE, Reason.BUSY)
