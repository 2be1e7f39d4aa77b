"""Storing, with real databases: a doorbell that is revoked while its object is on its way."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from doorstep_cloud.clips.service import announce, find_object
from doorstep_cloud.clips.tables import ClipObjectRow, EnvelopeRow
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.storing import NotAnnounced, NotHeard, Outcome, Stored, StoreRoom
from doorstep_cloud.ingest.transfers import TransferDesk
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectMissingError, ObjectStore
from doorstep_cloud.store.spool import Spool, SpoolKey
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import Command, SegmentTopic, TransferTopic
from doorstep_shared.transfer import (
    CHUNK_BYTES,
    Code,
    Init,
    Reason,
    decode_reply,
    encode_init,
)
from tests.cloud_world import House
from tests.people import NOW_MS, doorbell, epoch_identity, random_from
from tests.scripted_doorbell import Clip, make_clip
from tests.services import wait_until

FRONT = doorbell("front")
OWN = HouseholdId("h" * 26)
FILE = ObjectName.FILE
RECIPIENT = epoch_identity(1).recipient()


class Shelf(ObjectStore):
    """A store in memory, in which something may happen when a payload is put."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.when_put: Callable[[], None] = lambda: None

    def put_if_absent(self, key: str, data: Path | bytes, sha256: bytes) -> bool:
        assert isinstance(data, Path)
        self.held[key] = sha256
        self.when_put()
        return True

    def sha256_of(self, key: str) -> bytes:
        if key not in self.held:
            raise ObjectMissingError("nothing is stored here")
        return self.held[key]


@pytest.fixture
def house(house: House) -> House:
    house.welcome(FRONT)
    return house


@pytest.fixture
def clip(databases: Databases, house: House) -> Clip:
    """An announced clip of one object."""
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes={FILE: 1000})
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()
    return clip


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def room(databases: Databases, shelf: Shelf) -> StoreRoom:
    key = SigningKey.generate(random_from("receipt"))
    return StoreRoom(databases, shelf, key, lambda: NOW_MS)


def keep(room: StoreRoom, clip: Clip, folder: Path) -> Outcome:
    path = folder / "payload"
    path.write_bytes(clip.boxes[FILE].payload)
    return room.keep(SpoolKey(FRONT.device.id, clip.id, FILE), clip.manifest.file.payload, path)


def has_receipt(databases: Databases, clip: Clip) -> bool:
    with databases.read() as unit:
        state = find_object(unit, FRONT.device.id, clip.id, FILE)
    assert state is not None
    return state.receipt is not None


def test_a_listed_doorbells_object_is_stored(
    room: StoreRoom, shelf: Shelf, clip: Clip, databases: Databases, tmp_path: Path
) -> None:
    assert isinstance(keep(room, clip, tmp_path), Stored)
    assert len(shelf.held) == 1
    assert has_receipt(databases, clip)


def test_a_revoked_doorbells_object_does_not_reach_the_store(
    room: StoreRoom, shelf: Shelf, house: House, clip: Clip, tmp_path: Path
) -> None:
    house.revoke(FRONT)
    assert keep(room, clip, tmp_path) == NotHeard()
    assert shelf.held == {}


def test_one_revoked_while_the_store_works_gets_no_receipt(
    *,
    room: StoreRoom,
    shelf: Shelf,
    house: House,
    clip: Clip,
    databases: Databases,
    tmp_path: Path,
) -> None:
    shelf.when_put = lambda: house.revoke(FRONT)
    assert keep(room, clip, tmp_path) == NotHeard()
    assert not has_receipt(databases, clip)


def lose_vault(databases: Databases) -> None:
    with databases.write() as unit:
        unit.vault.execute(delete(EnvelopeRow))
        unit.commit()


def test_an_object_whose_envelope_was_lost_meanwhile_gets_no_receipt(
    *, room: StoreRoom, shelf: Shelf, clip: Clip, databases: Databases, tmp_path: Path
) -> None:
    shelf.when_put = lambda: lose_vault(databases)
    assert keep(room, clip, tmp_path) == NotAnnounced()
    with databases.read() as unit:
        assert unit.main.scalars(select(ClipObjectRow.receipt)).all() == [None]


def test_its_doorbell_announces_it_again_and_then_gets_the_receipt(
    *, room: StoreRoom, shelf: Shelf, clip: Clip, databases: Databases, tmp_path: Path
) -> None:
    said: list[tuple[str, bytes]] = []
    spool, payload = Spool(tmp_path / "spool"), clip.boxes[FILE].payload
    desk = TransferDesk(
        databases, spool, room, lambda *message: said.append(message), IngestCounters(), workers=1
    )

    def bring() -> bytes:
        """Bring all of it, and return the last that was said."""
        desk.take(TransferTopic(FRONT.device.id, clip.id, FILE, Command.INIT), encode_init(Init()))
        desk.take(SegmentTopic(FRONT.device.id, clip.id, FILE, 0), payload)
        before = len(said)
        desk.take(TransferTopic(FRONT.device.id, clip.id, FILE, Command.FIN), b"")
        wait_until(lambda: len(said) > before, what="the answer to fin")
        return said[-1][1]

    shelf.when_put = lambda: lose_vault(databases)
    reply = decode_reply(bring())
    assert (reply.code, reply.reason) == (Code.PAUSE, Reason.CLIP_UNKNOWN)
    assert spool.reserved_bytes(FRONT.device.id) == 0
    shelf.when_put = lambda: None
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()
    bring()
    desk.stop()
    assert has_receipt(databases, clip)
    assert [topic.endswith("/ack") for topic, _ in said].count(True) == 1


def test_what_a_revoked_doorbell_had_under_way_is_dropped_in_silence(
    room: StoreRoom, house: House, clip: Clip, databases: Databases, tmp_path: Path
) -> None:
    said: list[str] = []
    counters, spool = IngestCounters(), Spool(tmp_path / "spool")
    desk = TransferDesk(
        databases, spool, room, lambda topic, _: said.append(topic), counters, workers=1
    )
    topic = TransferTopic(FRONT.device.id, clip.id, FILE, Command.INIT)
    desk.take(topic, encode_init(Init()))
    payload = clip.boxes[FILE].payload
    assert len(payload) < CHUNK_BYTES
    desk.take(SegmentTopic(FRONT.device.id, clip.id, FILE, 0), payload)
    house.revoke(FRONT)
    before = len(said)
    desk.take(TransferTopic(FRONT.device.id, clip.id, FILE, Command.FIN), b"")
    wait_until(lambda: counters[Count.DROPPED_UNKNOWN_SENDER] == 1, what="the object to be dropped")
    desk.stop()
    assert len(said) == before
    assert list((tmp_path / "spool").rglob("*.*")) == []
    assert spool.reserved_bytes(FRONT.device.id) == 0
