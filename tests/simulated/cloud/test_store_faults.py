"""An object store that does wrong: no receipt without the true bytes, and no wrong download."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from doorstep_cloud.access.policy import Scope
from doorstep_cloud.clips.service import announce, find_object, object_key, record_stored
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.storing import StoreRoom
from doorstep_cloud.ingest.transfers import TransferDesk
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.spool import Spool
from doorstep_cloud.web.problems import MEDIA_TYPE
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import Command, DeviceTopic, Leaf, SegmentTopic, TransferTopic
from doorstep_shared.topics import parse_topic as parse
from doorstep_shared.transfer import CHUNK_BYTES, Code, Init, Reply, decode_reply, encode_init
from doorstep_shared.wire import Ack, decode_body
from tests.cloud_world import House, WebServer, app_over, open_empty
from tests.people import HOUSEHOLD, NOW_MS, OWNER, doorbell, epoch_identity, random_from
from tests.played_s3 import Fault, PlayedS3, played_s3
from tests.scripted_doorbell import Clip, make_clip
from tests.services import wait_until

FRONT = doorbell("front")
FILE = ObjectName.FILE
RECIPIENT = epoch_identity(1).recipient()

PUT_FAULTS = {
    Fault.ANSWER_500: "answered 500",
    Fault.SLOW_DOWN: "answered 503",
    Fault.SLOW: "did not answer",
    Fault.CUT_UPLOAD: "did not answer",
    Fault.WRONG_CHECKSUM: "kept other bytes",
    Fault.WRONG_BYTES: "kept other bytes",
    Fault.SHORT: "kept other bytes",
    Fault.LOST: "lost what it had just taken",
    Fault.NO_BUCKET: "does not have the service's bucket",
    Fault.WRONG_KEYS: "refuses the service's keys",
}


@pytest.fixture(scope="module")
def running_store() -> Iterator[PlayedS3]:
    with played_s3() as running:
        yield running


@pytest.fixture
def store(running_store: PlayedS3) -> PlayedS3:
    """A store that is empty and well."""
    running_store.held.clear()
    running_store.fault = None
    return running_store


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with open_empty(tmp_path) as opened:
        yield opened


@pytest.fixture
def house(databases: Databases) -> House:
    house = House(databases, OWNER, HOUSEHOLD)
    house.welcome(FRONT)
    return house


@pytest.fixture
def clip(databases: Databases, house: House) -> Clip:
    """An announced clip of one object."""
    clip = make_clip(FRONT, house.id, RECIPIENT, sizes={FILE: 200_000})
    envelopes = {name: box.envelope for name, box in clip.boxes.items()}
    with databases.write() as unit:
        announce(unit, clip.signed, clip.manifest, envelopes, NOW_MS)
        unit.commit()
    return clip


class Desk:
    """Ingest's desk for transfers, and what it told the doorbell."""

    def __init__(self, databases: Databases, store: PlayedS3, folder: Path) -> None:
        self.replies: list[Reply] = []
        self.receipts = 0
        self.counters = IngestCounters()
        key = SigningKey.generate(random_from("receipt"))
        room = StoreRoom(databases, store.connection, key, lambda: NOW_MS)
        self.desk = TransferDesk(
            databases, Spool(folder), room, self._publish, self.counters, workers=1
        )

    def _publish(self, topic: str, body: bytes) -> None:
        parsed = parse(topic)
        assert isinstance(parsed, DeviceTopic)
        if parsed.leaf is Leaf.ACK:
            self.receipts += len(decode_body(Ack, body).receipts)
        else:
            self.replies.append(decode_reply(body))

    def bring(self, clip: Clip) -> Reply:
        """Bring the whole object; return the reply to its end."""
        payload = clip.boxes[FILE].payload
        self._command(clip, Command.INIT, encode_init(Init()))
        for offset in range(0, len(payload), CHUNK_BYTES):
            topic = SegmentTopic(FRONT.device.id, clip.id, FILE, offset)
            self.desk.take(topic, payload[offset : offset + CHUNK_BYTES])
        return self.end(clip)

    def end(self, clip: Clip) -> Reply:
        """Say once more that all was sent; return the reply."""
        before = len(self.replies)
        self._command(clip, Command.FIN)
        wait_until(lambda: len(self.replies) > before, what="the reply to fin")
        return self.replies[-1]

    def _command(self, clip: Clip, command: Command, body: bytes = b"") -> None:
        self.desk.take(TransferTopic(FRONT.device.id, clip.id, FILE, command), body)


@pytest.fixture
def desk(databases: Databases, store: PlayedS3, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(databases, store, tmp_path / "spool")
    yield desk
    desk.desk.stop()


def has_receipt(databases: Databases, clip: Clip) -> bool:
    with databases.read() as unit:
        state = find_object(unit, FRONT.device.id, clip.id, FILE)
    return state is not None and state.receipt is not None


@pytest.mark.parametrize("fault", PUT_FAULTS)
def test_there_is_no_receipt_before_the_store_has_the_true_bytes(
    fault: Fault, desk: Desk, store: PlayedS3, databases: Databases, clip: Clip
) -> None:
    store.fault = fault
    with capture_logs() as log:
        reply = desk.bring(clip)
    assert reply.code is Code.AGAIN
    assert reply.retry_after_ms > 0
    assert desk.receipts == 0
    assert not has_receipt(databases, clip)
    (said,) = [line for line in log if line["event"] == "object_not_stored"]
    assert PUT_FAULTS[fault] in said["fact"]
    assert desk.counters[Count.CRASHED] == 0
    store.fault = None
    assert desk.end(clip).code is Code.OK
    assert desk.receipts == 1
    assert store.held["/clips/" + object_key(clip.id, FILE)] == clip.boxes[FILE].payload


def test_where_other_bytes_lie_they_stay_and_nothing_is_receipted(
    desk: Desk, store: PlayedS3, databases: Databases, clip: Clip
) -> None:
    store.fault = Fault.OCCUPIED
    assert desk.bring(clip).code is Code.NEVER
    assert not has_receipt(databases, clip)
    assert store.held["/clips/" + object_key(clip.id, FILE)] == b"of somebody else"


class Reader:
    """Somebody who downloads a stored clip from a real web server."""

    def __init__(self, client: httpx.Client, clip: Clip) -> None:
        self._client = client
        self._path = f"/v1/clips/{clip.id}/file.age"

    def read(self) -> httpx.Response:
        return self._client.get(self._path)

    def ask_whether_ready(self) -> httpx.Response:
        return self._client.get("/readyz")


@pytest.fixture
def reader(databases: Databases, house: House, store: PlayedS3, clip: Clip) -> Iterator[Reader]:
    payload = clip.boxes[FILE].payload
    store.connection.put_if_absent(
        object_key(clip.id, FILE), payload, hashlib.sha256(payload).digest()
    )
    with databases.write() as unit:
        record_stored(unit, clip.id, FILE, b"receipt", NOW_MS)
        unit.commit()
    app = app_over(
        databases,
        store.connection,
        Hub(),
        probes={"object store": store.connection.require_bucket},
    )
    headers = {"Authorization": f"Bearer {house.token(Scope.CLIPS_READ)}"}
    with (
        WebServer(app, before_stop=lambda: None) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=20) as client,
    ):
        yield Reader(client, clip)


REFUSALS = (Fault.ANSWER_500, Fault.SLOW_DOWN, Fault.SLOW, Fault.NO_BUCKET, Fault.WRONG_KEYS)


def test_while_the_store_is_not_well_that_is_told_and_downloads_are_asked_to_come_back(
    reader: Reader, store: PlayedS3, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("doorstep_cloud.web.health._FRESH_S", 0)
    box = clip.boxes[FILE]
    for fault in REFUSALS:
        store.fault = fault
        answer = reader.read()
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == MEDIA_TYPE
        told = reader.ask_whether_ready()
        assert told.status_code == 503
        assert "the object store" in told.text
        store.fault = None
        assert reader.read().content == box.envelope + box.payload
        assert reader.ask_whether_ready().status_code == 200


def test_a_download_that_breaks_off_ends_broken(
    reader: Reader, store: PlayedS3, clip: Clip
) -> None:
    store.fault = Fault.CUT_ANSWER
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed"):
        reader.read()
    store.fault = None
    box = clip.boxes[FILE]
    assert reader.read().content == box.envelope + box.payload


def test_what_became_shorter_in_the_store_is_no_whole_clip(
    reader: Reader, store: PlayedS3, clip: Clip
) -> None:
    key = "/clips/" + object_key(clip.id, FILE)
    store.held[key] = store.held[key][:-1]
    assert reader.read().status_code == 503
