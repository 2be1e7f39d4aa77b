"""What ingest and downloads do with a clip that was deleted, or is deleted under their hands."""

from pathlib import Path
from unittest.mock import patch

import pytest
from starlette.types import Message

from doorstep_cloud.clips.deleter import Deleter
from doorstep_cloud.clips.deletion import bury, find_tombstone
from doorstep_cloud.clips.downloads import Download, DownloadPlaces
from doorstep_cloud.clips.rules import Span
from doorstep_cloud.clips.service import SealedObject, announce, object_key, parse_object_key
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.ingest.control import ControlDesk
from doorstep_cloud.ingest.counters import IngestCounters
from doorstep_cloud.ingest.inbox import Inbox
from doorstep_cloud.ingest.inbox import Message as Said
from doorstep_cloud.ingest.storing import Deleted, StoreRoom
from doorstep_cloud.ingest.transfers import TransferDesk
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.errors import NotFoundError
from doorstep_cloud.store.spool import Spool, SpoolKey
from doorstep_shared.deletions import verify_deletion
from doorstep_shared.errors import BadMessageError
from doorstep_shared.manifest import ObjectName
from doorstep_shared.topics import Command, Leaf, SegmentTopic, TransferTopic
from doorstep_shared.transfer import (
    CHUNK_BYTES,
    Code,
    Init,
    Reason,
    Reply,
    decode_reply,
    encode_init,
)
from doorstep_shared.wire import DELETED, Ack, decode_body
from tests.cloud_world import RECEIPT_KEY, House
from tests.people import HOUSEHOLD, NOW_MS, doorbell, epoch_identity
from tests.scripted_doorbell import Clip, make_clip
from tests.services import wait_until
from tests.shelf import Shelf

FRONT = doorbell("front")
FILE = ObjectName.FILE
RECIPIENT = epoch_identity(1).recipient()


@pytest.fixture
def clip(databases: Databases, house: House) -> Clip:
    """An announced clip of one object in three segments."""
    house.welcome(FRONT)
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes={FILE: 300_000})
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()
    return clip


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def deleter(databases: Databases, shelf: Shelf) -> Deleter:
    return Deleter(databases, shelf, RECEIPT_KEY, lambda: NOW_MS, lambda _clips: None)


def hide(databases: Databases, clip: Clip) -> None:
    with databases.write() as unit:
        bury(unit, [clip.id], NOW_MS)
        unit.commit()


def announced_again(databases: Databases, clip: Clip) -> Ack:
    """Return how the service answers the clip's announcement."""
    inbox, acks = Inbox(), []
    desk = ControlDesk(
        databases,
        inbox,
        lambda _topic, body: acks.append(decode_body(Ack, body)),
        Hub(),
        IngestCounters(),
        receipt_key=RECEIPT_KEY,
        now_ms=lambda: NOW_MS,
    )
    inbox.put(Said(FRONT.device.id, Leaf.CLIP, clip.announcement.encode()))
    desk._handle(list(desk._decoded(inbox.take(8))))
    (ack,) = acks
    return ack


def test_a_deleted_clip_is_refused_with_proof(
    databases: Databases, deleter: Deleter, clip: Clip
) -> None:
    hide(databases, clip)
    kept = deleter.conclude(clip.id)
    ack = announced_again(databases, clip)
    assert ack.announced == ()
    assert [(one.clip, one.reason) for one in ack.refused] == [(clip.id, DELETED)]
    assert ack.deletions == (kept,)


def test_an_expired_clip_is_proven_to_be_gone_once_nothing_is_left_of_it(
    databases: Databases, deleter: Deleter, clip: Clip
) -> None:
    deleter.delete_silently([clip.id], NOW_MS)
    assert announced_again(databases, clip).deletions == ()
    deleter.delete_objects()
    (proof,) = announced_again(databases, clip).deletions
    assert verify_deletion(proof, RECEIPT_KEY.public).manifest == clip.signed.body_hash
    with databases.read() as unit:
        tombstone = find_tombstone(unit, clip.id)
    assert tombstone is not None
    assert tombstone.receipt is None


def test_the_proof_names_no_time_before_what_opened_the_clip_had_gone(
    databases: Databases, shelf: Shelf, clip: Clip
) -> None:
    now_ms = [NOW_MS]
    deleter = Deleter(databases, shelf, RECEIPT_KEY, lambda: now_ms[0], lambda _clips: None)
    deleter.delete_silently([clip.id], NOW_MS)
    now_ms[0] += 5000
    deleter.delete_objects()
    (proof,) = announced_again(databases, clip).deletions
    assert verify_deletion(proof, RECEIPT_KEY.public).at == NOW_MS + 5000


class Desk:
    """A transfer desk over a store in memory."""

    def __init__(self, databases: Databases, shelf: Shelf, folder: Path) -> None:
        self.replies: list[Reply] = []
        self.spool = Spool(folder)
        self.desk = TransferDesk(
            databases,
            self.spool,
            StoreRoom(databases, shelf, RECEIPT_KEY, lambda: NOW_MS),
            lambda topic, body: (
                self.replies.append(decode_reply(body)) if topic.endswith("/fr") else None
            ),
            IngestCounters(),
            workers=1,
        )

    def command(self, clip: Clip, command: Command) -> None:
        body = encode_init(Init()) if command is Command.INIT else b""
        self.desk.take(TransferTopic(FRONT.device.id, clip.id, FILE, command), body)

    def segments(self, clip: Clip, count: int) -> None:
        for at in range(0, count * CHUNK_BYTES, CHUNK_BYTES):
            data = clip.boxes[FILE].payload[at : at + CHUNK_BYTES]
            self.desk.take(SegmentTopic(FRONT.device.id, clip.id, FILE, at), data)


@pytest.fixture
def desk(databases: Databases, shelf: Shelf, tmp_path: Path) -> Desk:
    return Desk(databases, shelf, tmp_path / "spool")


def test_a_transfer_under_way_is_dropped_with_what_it_brought(
    databases: Databases, clip: Clip, desk: Desk, tmp_path: Path
) -> None:
    desk.command(clip, Command.INIT)
    desk.segments(clip, 2)
    hide(databases, clip)
    desk.desk.forget_clips({clip.id})
    assert (desk.replies[-1].code, desk.replies[-1].reason) == (Code.NEVER, Reason.DELETED)
    assert list((tmp_path / "spool").rglob("*.*")) == []
    assert desk.spool.reserved_bytes(FRONT.device.id) == 0
    desk.command(clip, Command.INIT)
    assert (desk.replies[-1].code, desk.replies[-1].reason) == (Code.NEVER, Reason.DELETED)
    desk.desk.stop()


def test_other_clips_transfers_go_on(databases: Databases, clip: Clip, desk: Desk) -> None:
    desk.command(clip, Command.INIT)
    desk.desk.forget_clips({make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=9).id})
    desk.segments(clip, 1)
    assert desk.replies[-1].code is Code.OK
    desk.desk.stop()
    del databases


def test_what_was_put_for_a_clip_deleted_meanwhile_is_deleted_again(
    databases: Databases, clip: Clip, desk: Desk, shelf: Shelf, deleter: Deleter
) -> None:
    def delete_meanwhile() -> None:
        hide(databases, clip)
        # The worker is quicker than the put.
        held, shelf.held = shelf.held, {}
        deleter.delete_objects()
        shelf.held = held

    shelf.when_put = delete_meanwhile
    desk.command(clip, Command.INIT)
    desk.segments(clip, 3)
    desk.command(clip, Command.FIN)
    wait_until(lambda: desk.replies[-1].reason == Reason.DELETED, what="the answer to fin")
    assert desk.replies[-1].code is Code.NEVER
    assert shelf.held == {}
    assert desk.spool.reserved_bytes(FRONT.device.id) == 0
    desk.desk.stop()


def test_a_late_put_that_the_store_does_not_let_go_is_left_to_the_worker(
    databases: Databases, clip: Clip, shelf: Shelf, deleter: Deleter, tmp_path: Path
) -> None:
    def delete_meanwhile() -> None:
        hide(databases, clip)
        held, shelf.held = shelf.held, {}
        deleter.delete_objects()
        shelf.held = held

    shelf.when_put = delete_meanwhile
    path = tmp_path / "payload"
    path.write_bytes(clip.boxes[FILE].payload)
    room = StoreRoom(databases, shelf, RECEIPT_KEY, lambda: NOW_MS)
    key = SpoolKey(FRONT.device.id, clip.id, FILE)
    commit = room._commit

    def commit_and_lose_the_store(*arguments: object) -> object:
        outcome = commit(*arguments)  # type: ignore[arg-type]  # handed on
        shelf.is_away = True
        return outcome

    with patch.object(room, "_commit", commit_and_lose_the_store):
        assert room.keep(key, clip.manifest.file.payload, path) == Deleted()
    assert shelf.held != {}
    shelf.is_away = False
    assert deleter.delete_objects() == 1
    assert shelf.held == {}


def test_what_nobody_waits_for_is_swept_from_the_spool(
    databases: Databases, clip: Clip, desk: Desk, tmp_path: Path
) -> None:
    desk.command(clip, Command.INIT)
    desk.segments(clip, 1)
    other = make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=9)
    desk.spool.write(SpoolKey(FRONT.device.id, other.id, FILE), 0, b"x", b"w 1 0 1 0\n")
    assert desk.desk.sweep_spool() == 1
    assert desk.desk.sweep_spool() == 0
    assert {path.parent.name for path in (tmp_path / "spool").rglob("*.bytes")} == {clip.id}
    desk.desk.stop()
    del databases


SEALED = SealedObject(b"envelope", payload_length=0, payload_sha256=bytes(32), key="key")


async def test_a_download_ends_before_its_next_piece(shelf: Shelf, clip: Clip) -> None:
    places, sent = DownloadPlaces(1), []
    download = Download(
        shelf,
        places,
        SEALED,
        clip=clip.id,
        is_there=lambda: True,
        household=HOUSEHOLD,
        span=Span(0, 8),
        headers={},
    )

    async def send(message: Message) -> None:
        sent.append(message["type"])
        places.end([clip.id])

    async def never() -> Message:
        raise AssertionError("nothing is waited for")

    await download({"type": "http", "asgi": {"spec_version": "2.4"}}, never, send)
    assert sent == ["http.response.start"]
    assert places.running == 0
    assert not places._endings


def test_a_download_that_begins_while_its_clip_goes_does_not_begin(
    shelf: Shelf, clip: Clip
) -> None:
    places = DownloadPlaces(1)
    with pytest.raises(NotFoundError):
        Download(
            shelf,
            places,
            SEALED,
            clip=clip.id,
            is_there=lambda: False,
            household=HOUSEHOLD,
            span=None,
            headers={},
        )
    assert places.running == 0


def test_the_key_of_an_object_is_read_back(clip: Clip) -> None:
    assert parse_object_key(object_key(clip.id, FILE)) == (clip.id, FILE)
    for key in (f"clips/{clip.id}", f"clips/{clip.id}/x", f"clip/{clip.id}/file", "clips/x/file"):
        with pytest.raises(BadMessageError):
            parse_object_key(key)
