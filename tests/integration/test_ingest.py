"""Ingest over the real broker and the real object store."""

import hashlib
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from doorstep_cloud.clips.service import find_object, object_key, read_clip
from doorstep_cloud.clips.tables import ClipRow, EnvelopeRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.ingest.access import RESPONSES, first_access_list
from doorstep_cloud.ingest.connection import BrokerAddress, Connection
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectMissingError
from doorstep_shared.age_keys import Recipient
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import DeviceTopic, Leaf, SegmentTopic, device_root
from doorstep_shared.transfer import CHUNK_BYTES, GaveUp, SendSegment
from doorstep_shared.transfer.messages import MAX_WINDOW
from doorstep_shared.wire import Statements, decode_body
from tests.cloud_world import House
from tests.people import NOW_MS, Doorbell, doorbell, person, random_from
from tests.scripted_doorbell import Clip, ScriptedDoorbell, make_clip, make_event, resigned
from tests.services import Mosquitto, SeaweedFs, mosquitto, wait_until

FILE = ObjectName.FILE
RECEIPT_KEY = SigningKey.generate(random_from("receipt"))
FRONT = doorbell("front")
BACK = doorbell("back")
NEIGHBOUR = person("neighbour")

pytestmark = pytest.mark.usefixtures("house", "ingest")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as service:
        yield service


@pytest.fixture
def house(house: House) -> House:
    house.welcome(FRONT)
    return house


Start = Callable[[], Ingest]


@pytest.fixture
def start(
    databases: Databases, broker: Mosquitto, objects: SeaweedFs, tmp_path: Path
) -> Iterator[Start]:
    started: list[Ingest] = []
    own = broker.certificates.ingest()

    def begin() -> Ingest:
        ingest = Ingest(
            databases=databases,
            objects=objects.store,
            hub=Hub(),
            broker=BrokerAddress("127.0.0.1", broker.port, own.ca, own.certificate, own.key),
            spool_folder=tmp_path / "spool",
            receipt_key=RECEIPT_KEY,
            now_ms=lambda: NOW_MS,
        )
        ingest.start()
        started.append(ingest)
        wait_until(lambda: ingest.is_connected, what="ingest's connection")
        return ingest

    yield begin
    for ingest in started:
        ingest.stop()


@pytest.fixture
def ingest(start: Start) -> Ingest:
    return start()


@pytest.fixture
def front(broker: Mosquitto) -> Iterator[ScriptedDoorbell]:
    with ScriptedDoorbell(FRONT, broker, RECEIPT_KEY.public) as bell:
        yield bell


def recipient_of(house: House) -> Recipient:
    return house.head.epoch_recipient


def test_a_ring_is_stored_once_and_acknowledged(
    front: ScriptedDoorbell, databases: Databases
) -> None:
    event = make_event(NOW_MS)
    front.ring(event)
    front.say(Leaf.RING, event.encode())
    wait_until(lambda: front.times_acknowledged(event.event) == 2)
    with databases.read() as unit:
        rows = unit.main.scalars(select(EventRow)).all()
    assert [(row.device, row.id, row.kind) for row in rows] == [(front.id, event.event, "ring")]


def test_a_clip_comes_whole_with_every_receipt(
    front: ScriptedDoorbell, house: House, databases: Databases, objects: SeaweedFs
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house))
    front.announce(clip)
    front.deliver(clip)
    with databases.read() as unit:
        item = read_clip(unit, clip.id)
        envelopes = {
            ObjectName(row.object): row.envelope for row in unit.vault.scalars(select(EnvelopeRow))
        }
    assert item.stored_at_ms == NOW_MS
    assert all(item.objects[name].is_stored for name in ObjectName)
    assert envelopes == {name: box.envelope for name, box in clip.boxes.items()}
    for name, box in clip.boxes.items():
        stored = objects.store.sha256_of(object_key(clip.id, name))
        assert stored == hashlib.sha256(box.payload).digest()


def test_segments_twice_and_in_any_order_make_the_same_object(
    front: ScriptedDoorbell, house: House, objects: SeaweedFs
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=1, sizes={FILE: 2_000_000})
    shuffled = random.Random(1)

    def mangle(segments: list[SendSegment]) -> list[SendSegment]:
        return shuffled.sample(segments * 2, 2 * len(segments))

    front.announce(clip)
    front.deliver(clip, mangle=mangle)
    assert objects.store.sha256_of(object_key(clip.id, FILE)) == clip.manifest.file.payload.sha256


def test_bytes_that_are_not_the_manifests_are_never_stored(
    front: ScriptedDoorbell, house: House, objects: SeaweedFs, databases: Databases
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=3, sizes={FILE: 300_000})
    payload = bytearray(clip.boxes[FILE].payload)
    payload[150_000] ^= 1
    front.announce(clip)
    outcome = front.send(clip, FILE, bytes(payload))
    assert isinstance(outcome, GaveUp)
    with pytest.raises(ObjectMissingError):
        objects.store.sha256_of(object_key(clip.id, FILE))
    with databases.read() as unit:
        state = find_object(unit, FRONT.device.id, clip.id, FILE)
    assert state is not None
    assert state.receipt is None


def test_another_clip_of_the_same_id_is_refused_with_a_reason(
    front: ScriptedDoorbell, house: House
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=4, sizes={FILE: 1000})
    front.announce(clip)
    other = resigned(clip, FRONT, end=clip.manifest.end + 1)
    front.say(Leaf.CLIP, other.announcement.encode())
    wait_until(lambda: clip.id in front.refused)
    assert front.refused[clip.id] == "another clip has this id already"


def test_a_delivery_goes_on_where_a_killed_broker_broke_it_off(
    front: ScriptedDoorbell, house: House, broker: Mosquitto, databases: Databases
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=5, sizes={FILE: 6_000_000})
    front.announce(clip)
    sent: list[int] = []

    def kill_in_the_middle(segments: list[SendSegment]) -> list[SendSegment]:
        before = len(sent)
        sent.extend(segment.offset for segment in segments)
        if before < 20 <= len(sent):
            broker.process.kill()
        return segments

    front.deliver(clip, mangle=kill_in_the_middle, timeout_s=60)
    segments = -(-clip.manifest.file.payload.length // CHUNK_BYTES)
    # What had arrived was not sent again, but for what was on its way.
    assert len(sent) <= segments + 2 * MAX_WINDOW
    with databases.read() as unit:
        assert read_clip(unit, clip.id).stored_at_ms is not None


def test_a_delivery_goes_on_where_ingest_was_stopped(
    front: ScriptedDoorbell, house: House, ingest: Ingest, start: Start
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=6, sizes={FILE: 3_000_000})
    front.announce(clip)
    assert front.send(clip, FILE, clip.boxes[FILE].payload, stop_after=8) is None
    ingest.stop()
    start()
    sent: list[int] = []

    def count(segments: list[SendSegment]) -> list[SendSegment]:
        sent.extend(segment.offset for segment in segments)
        return segments

    front.deliver(clip, mangle=count)
    assert len(sent) < clip.manifest.file.payload.length / CHUNK_BYTES


def test_while_the_object_store_is_away_nothing_is_lost(
    front: ScriptedDoorbell, house: House, objects: SeaweedFs, ingest: Ingest
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=7, sizes={FILE: 500_000})
    front.announce(clip)
    delivery = threading.Thread(target=front.deliver, args=(clip,), kwargs={"timeout_s": 60})
    with objects.away():
        delivery.start()
        wait_until(lambda: ingest.counters[Count.STORE_FAILED] > 0, what="the failed attempt")
        # A ring does not wait for the store.
        front.ring(make_event(NOW_MS, 7))
    delivery.join(90)
    assert front.has_receipt(clip, FILE)


def test_a_stored_object_is_not_brought_twice(
    front: ScriptedDoorbell, house: House, ingest: Ingest
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=8, sizes={FILE: 100_000})
    front.announce(clip)
    front.deliver(clip)

    def refuse_any(segments: list[SendSegment]) -> list[SendSegment]:
        assert segments == []
        return segments

    front.send(clip, FILE, b"", mangle=refuse_any)
    wait_until(lambda: len(front.receipts) == 2)
    assert ingest.counters[Count.OBJECT_STORED] == 1


@pytest.fixture
def victim(databases: Databases, broker: Mosquitto, ingest: Ingest) -> Iterator[ScriptedDoorbell]:
    """Return the neighbour's doorbell: another household's."""
    theirs = House(databases, NEIGHBOUR, HouseholdId("n" * 26))
    theirs.enrol(BACK)
    theirs.list(BACK)
    ingest.household_changed(theirs.id)
    with ScriptedDoorbell(BACK, broker, RECEIPT_KEY.public) as bell:
        yield bell


def test_a_thousand_hostile_messages_touch_nobody_else(
    front: ScriptedDoorbell,
    victim: ScriptedDoorbell,
    house: House,
    ingest: Ingest,
    databases: Databases,
) -> None:
    theirs = make_clip(BACK, HouseholdId("n" * 26), recipient_of(house), sizes={FILE: 200_000})
    victim.announce(theirs)
    own = make_clip(FRONT, house.id, recipient_of(house), seed=9, sizes={FILE: 200_000})
    front.announce(own)
    hostile = Hostile(front, own, theirs)
    for number in range(1000):
        hostile.send(number)
    # The victim's ring and clip come through behind all of it.
    victim.ring(make_event(NOW_MS, 9))
    victim.deliver(theirs)
    wait_until(lambda: ingest.counters[Count.DROPPED_MALFORMED] > 100)
    assert ingest.counters[Count.CRASHED] == 0
    assert ingest.is_connected
    with databases.read() as unit:
        events = unit.main.scalars(select(EventRow).where(EventRow.device == BACK.device.id)).all()
        clips = unit.main.scalars(select(ClipRow).where(ClipRow.device == BACK.device.id)).all()
        assert len(events) == 1
        assert [clip.id for clip in clips] == [theirs.id]
        assert clips[0].manifest == theirs.signed.encode()
        owners = set(unit.main.scalars(select(ClipRow.household)))
        assert owners == {house.id, HouseholdId("n" * 26)}
    # It has spoiled its own clip, and nothing but that.
    another = make_clip(FRONT, house.id, recipient_of(house), seed=10, sizes={FILE: 200_000})
    front.announce(another)
    front.deliver(another)


class Hostile:
    """Random and mutated messages, the same for a seed every time."""

    def __init__(self, bell: ScriptedDoorbell, own: Clip, theirs: Clip) -> None:
        self._bell = bell
        self._random = random.Random(20261122)
        self._clips = (own, theirs)
        self._valid = [
            (Leaf.RING, make_event(NOW_MS, 100).encode()),
            (Leaf.MOTION, make_event(NOW_MS, 101).encode()),
            (Leaf.CLIP, own.announcement.encode()),
            (Leaf.CLIP, theirs.announcement.encode()),
            (Leaf.HELLO, b'{"v":1,"boot":"' + b"0" * 32 + b'","connections":1,"agent":"x"}'),
            (Leaf.STATUS, b'{"v":1,"boot":"' + b"0" * 32 + b'","connections":1,"online":true}'),
        ]

    def send(self, number: int) -> None:
        if number % 5:  # with fewer of the rest it is not put out
            leaf, body = self._random.choice(self._valid)
            self._bell.say(leaf, self._mutated(body))
            return
        clip = self._random.choice(self._clips)
        last = self._random.choice(["init", "fin", "abort", "0", "131072", "1", "99999999"])
        # The topics that the broker lets a doorbell write: its own, with any clip's id in them.
        topic = f"{device_root(self._bell.id)}/f/{clip.id}/{self._random.choice(OBJECTS)}/{last}"
        body = self._random.randbytes(self._random.choice([0, 1, 17, 1000, 131_072]))
        self._bell.bulk.publish(topic, body)

    def _mutated(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(self._random.randint(0, 4)):
            place = self._random.randrange(len(changed))
            match self._random.randrange(3):
                case 0:
                    changed[place] = self._random.randrange(256)
                case 1:
                    del changed[place]
                case _:
                    changed[place:place] = self._random.randbytes(2)
        return bytes(changed)


OBJECTS = [name.value for name in ObjectName]


def test_a_doorbell_writes_under_no_other_name(
    front: ScriptedDoorbell, victim: ScriptedDoorbell, databases: Databases
) -> None:
    event = make_event(NOW_MS, 200)
    other_shard = f"doorstep/v1/{(int(front.id[:2], 16) + 1) % 256:02x}/{front.id}/ev/ring"
    for topic in (str(DeviceTopic(victim.id, Leaf.RING)), other_shard):
        front.control.publish(topic, event.encode())
    front.ring(make_event(NOW_MS, 201))
    with databases.read() as unit:
        devices = list(unit.main.scalars(select(EventRow.device)))
    assert devices == [front.id]


def test_a_revoked_doorbell_is_gone_from_the_broker(
    front: ScriptedDoorbell, house: House, ingest: Ingest
) -> None:
    front.ring(make_event(NOW_MS))
    house.revoke(FRONT)
    ingest.household_changed(house.id)
    wait_until(lambda: not front.control.is_up.is_set(), within_s=5, what="the end of its line")
    wait_until(lambda: not front.bulk.is_up.is_set(), within_s=5, what="the end of the other")
    # It comes back, having its certificate, and is let do nothing.
    wait_until(lambda: front.control.refusals > 0, what="the refusal of its subscriptions")
    before = ingest.counters[Count.DROPPED_UNKNOWN_SENDER]
    front.say(Leaf.RING, make_event(NOW_MS, 1).encode())
    wait_until(lambda: front.control.refusals > 3, what="further refusals")
    assert ingest.counters[Count.DROPPED_UNKNOWN_SENDER] == before
    assert ingest.counters[Count.EVENT_STORED] == 1


def test_a_broker_that_lost_its_list_is_told_all_of_it_again(
    front: ScriptedDoorbell, broker: Mosquitto, ingest: Ingest
) -> None:
    front.ring(make_event(NOW_MS))
    broker.process.kill()
    broker.access.write_text(first_access_list())
    front.ring(make_event(NOW_MS, 1))
    assert ingest.counters[Count.EVENT_STORED] == 2


def test_what_no_doorbell_may_write_is_dropped_even_if_the_broker_lets_it_through(
    ingest: Ingest,
) -> None:
    other_shard = f"doorstep/v1/{(int(FRONT.device.id[:2], 16) + 1) % 256:02x}/{FRONT.device.id}"
    event = make_event(NOW_MS).encode()
    ingest._take_control(f"{other_shard}/ev/ring", event)
    ingest._take_control(str(DeviceTopic(FRONT.device.id, Leaf.ACK)), b"{}")
    ingest._take_control("$SYS/anything", b"")
    ingest._take_bulk(str(DeviceTopic(FRONT.device.id, Leaf.RING)), event)
    ingest._take_bulk(f"{other_shard}/f/x/file/0", b"")
    assert ingest.counters[Count.DROPPED_NO_TOPIC] == 5
    ingest._take_control(str(DeviceTopic(FRONT.device.id, Leaf.RING)), bytes(2000))
    assert ingest.counters[Count.DROPPED_TOO_LONG] == 1


def test_a_flood_of_one_doorbell_does_not_delay_anothers_ring(
    front: ScriptedDoorbell, victim: ScriptedDoorbell
) -> None:
    for number in range(1500):
        front.say(Leaf.RING, make_event(NOW_MS, 1000 + number).encode())
    event = make_event(NOW_MS, 300)
    began = time.monotonic()
    victim.ring(event)
    assert time.monotonic() - began < 2.0, "it had to be sent again"


def test_a_new_statement_reaches_a_doorbell_that_is_listening(
    front: ScriptedDoorbell, house: House, ingest: Ingest
) -> None:
    house.state()
    ingest.household_changed(house.id)
    heard = front.other.get(timeout=20)
    assert heard.topic == str(DeviceTopic(front.id, Leaf.STATEMENTS))
    (signed,) = decode_body(Statements, heard.body).statements
    assert signed == house.head.signed


class RawLine:
    """A doorbell's connection in bytes of MQTT v5 (OASIS, section 3): no library corrects them."""

    def __init__(self, bell: Doorbell, broker: Mosquitto) -> None:
        files = broker.certificates.device(bell.device.id)
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.certificate, files.key)
        line = socket.create_connection(("127.0.0.1", broker.port), timeout=20)
        self._line = context.wrap_socket(line, server_hostname="127.0.0.1")
        # Clean start, 60 s of keep-alive, no properties, and no name of its own.
        body = text("MQTT") + bytes([5, 0x02]) + struct.pack("!HB", 60, 0) + text("")
        self._ask(0x10, body, answer=0x20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def publish(self, topic: str, properties: bytes) -> None:
        """Publish ``{}`` with QoS 1, and wait until the broker has taken it."""
        body = text(topic) + struct.pack("!H", 1) + number(len(properties)) + properties
        self._ask(0x32, body + b"{}", answer=0x40)

    def _ask(self, kind: int, body: bytes, *, answer: int) -> None:
        self._line.sendall(bytes([kind]) + number(len(body)) + body)
        found, length = self._line.recv(1), self._line.recv(1)
        assert found == bytes([answer])
        assert self._line.recv(length[0])


def text(value: str) -> bytes:
    """Return a string as MQTT spells it."""
    return struct.pack("!H", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    """Return a variable byte integer (MQTT v5 section 1.5.5)."""
    digits = [value % 128]
    while value := value // 128:
        digits[-1] |= 0x80
        digits.append(value % 128)
    return bytes(digits)


USER_PROPERTY = b"\x26"
# A byte order mark may stand in any string (MQTT v5 section 1.5.4), and no reader may drop it.
BYTE_ORDER_MARK = USER_PROPERTY + text("\ufeffx") + text("y")
THIRTY_THOUSAND = (USER_PROPERTY + text("") + text("")) * 30_000


@pytest.mark.parametrize("properties", [BYTE_ORDER_MARK, THIRTY_THOUSAND], ids=["mark", "many"])
def test_properties_that_a_doorbell_adds_hold_up_nobody(
    victim: ScriptedDoorbell,
    house: House,
    broker: Mosquitto,
    ingest: Ingest,
    properties: bytes,
) -> None:
    clip = make_clip(FRONT, house.id, recipient_of(house), seed=11, sizes={FILE: 1000})
    segment = str(SegmentTopic(FRONT.device.id, clip.id, FILE, 0))
    with capture_logs() as told, RawLine(FRONT, broker) as hostile:
        for _ in range(20):
            hostile.publish(str(DeviceTopic(FRONT.device.id, Leaf.HEALTH)), properties)
            hostile.publish(segment, properties)
        began = time.monotonic()
        victim.ring(make_event(NOW_MS, 400))
        took_s = time.monotonic() - began
        # All of them came: none was lost with a connection, and none killed one.
        wait_until(lambda: ingest.counters[Count.DROPPED_MALFORMED] == 20, what="what was sent")
    assert took_s < 2.0, "it had to be sent again"
    assert "ingest_disconnected" not in [fact["event"] for fact in told]
    assert ingest.is_connected


def test_a_refused_subscription_is_not_taken_for_a_connection(broker: Mosquitto) -> None:
    own = broker.certificates.ingest()
    address = BrokerAddress("127.0.0.1", broker.port, own.ca, own.certificate, own.key)
    allowed_and_not = (RESPONSES, "doorstep/v1/#")
    refused = Connection("refused", address, allowed_and_not, lambda *_: None, IngestCounters())
    with capture_logs() as told:
        refused.start()
        try:
            wait_until(lambda: bool(told), what="the broker's word")
        finally:
            refused.stop()
    assert [fact["event"] for fact in told][:1] == ["broker_refused_subscription"]
    assert not refused.is_connected
