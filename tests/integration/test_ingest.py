"""Ingest over the real broker and the real object store."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from doorstep_cloud.clips.service import object_key, read_clip
from doorstep_cloud.clips.tables import EnvelopeRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.ingest.connection import BrokerAddress
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.store.databases import Databases
from doorstep_shared.age_keys import Recipient
from doorstep_shared.ids import HouseholdId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import Leaf
from tests.cloud_world import House, open_empty
from tests.people import NOW_MS, OWNER, doorbell, person, random_from
from tests.scripted_doorbell import ScriptedDoorbell, make_clip, make_event
from tests.services import Mosquitto, SeaweedFs, mosquitto, seaweedfs, wait_until

RECEIPT_KEY = SigningKey.generate(random_from("receipt"))
FRONT = doorbell("front")
BACK = doorbell("back")
NEIGHBOUR = person("neighbour")

pytestmark = pytest.mark.usefixtures("house", "ingest")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    with seaweedfs(tmp_path_factory.mktemp("objects")) as service:
        yield service


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as service:
        yield service


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    with open_empty(tmp_path) as opened:
        yield opened


@pytest.fixture
def house(databases: Databases) -> House:
    house = House(databases, OWNER, HouseholdId("h" * 26))
    house.enrol(FRONT)
    house.list(FRONT)
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
            broker=BrokerAddress(
                "127.0.0.1", broker.port, broker.certificates.ca, own.certificate, own.key
            ),
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
