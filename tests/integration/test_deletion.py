"""Deleting on the real broker, the real object store and over real HTTP."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from doorstep_client.deletion import Doomed, Wish, delete_clip, tell_doorbells
from doorstep_client.errors import NotThereError
from doorstep_client.household import Household
from doorstep_cloud.app.upkeep import OBJECTS, Upkeep
from doorstep_cloud.app.worker import Worker
from doorstep_cloud.clips.service import object_key
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.ingest.connection import BrokerAddress
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectMissingError, ObjectStoreError
from doorstep_shared.deletions import verify_deletion
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import Signed
from doorstep_shared.topics import Leaf
from doorstep_shared.transfer import Code, GaveUp, Reason
from doorstep_shared.wire import DELETED
from doorstep_simulator.folder import files_below
from tests.cast import bearer
from tests.cloud_world import RECEIPT_KEY, House, WebServer, app_over
from tests.people import NOW_MS, doorbell
from tests.running import Home, ring
from tests.scripted_doorbell import Clip, ScriptedDoorbell, make_clip
from tests.services import Mosquitto, SeaweedFs, mosquitto, wait_until

FRONT = doorbell("front")
FILE = ObjectName.FILE


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path_factory.mktemp("broker")) as service:
        yield service


@pytest.fixture
def house(house: House) -> House:
    house.welcome(FRONT)
    return house


@dataclass(frozen=True, slots=True)
class Running:
    """The service: web, ingest and worker, put together as `doorstep-cloud all` does."""

    url: str
    headers: dict[str, str]
    ingest: Ingest
    worker: Worker

    def delete(self, clip: Clip) -> int:
        """Delete a clip over HTTP, and check the receipt."""
        answer = httpx.delete(f"{self.url}/v1/clips/{clip.id}", headers=self.headers, timeout=30)
        if answer.status_code == 200:
            signed = Signed.model_validate_json(json.dumps(answer.json()["receipt"]))
            assert verify_deletion(signed, RECEIPT_KEY.public).clip == clip.id
        return answer.status_code


Start = Callable[[], AbstractContextManager[Running]]


@pytest.fixture
def start(
    databases: Databases, broker: Mosquitto, objects: SeaweedFs, house: House, tmp_path: Path
) -> Start:
    files = broker.certificates.ingest()

    @contextmanager
    def begin() -> Iterator[Running]:
        ingest = Ingest(
            databases=databases,
            objects=objects.store,
            hub=Hub(),
            broker=BrokerAddress("127.0.0.1", broker.port, files.ca, files.certificate, files.key),
            spool_folder=tmp_path / "spool",
            receipt_key=RECEIPT_KEY,
            now_ms=lambda: NOW_MS,
        )
        worker = Worker()

        def deleted(clips: Sequence[ClipId]) -> None:
            ingest.clips_deleted(clips)
            worker.wake(OBJECTS)

        app = app_over(databases, objects.store, Hub(), clip_listener=deleted)
        Upkeep(
            databases,
            objects.store,
            app.state.deleter,
            worker,
            sweep_spool=ingest.sweep_spool,
            purge_backups=lambda: 0,
            now_ms=lambda: NOW_MS,
        )
        ingest.start()
        worker.start()
        wait_until(lambda: ingest.is_connected, what="ingest's connection")
        try:
            with WebServer(app, lambda: None) as web:
                yield Running(web.url, bearer(house.session()), ingest, worker)
        finally:
            worker.stop()
            ingest.stop()

    return begin


@pytest.fixture
def service(start: Start) -> Iterator[Running]:
    with start() as running:
        yield running


@pytest.fixture
def front(broker: Mosquitto) -> Iterator[ScriptedDoorbell]:
    with ScriptedDoorbell(FRONT, broker, RECEIPT_KEY.public) as bell:
        yield bell


def is_stored(objects: SeaweedFs, clip: Clip) -> bool:
    try:
        objects.store.sha256_of(object_key(clip.id, FILE))
    except (ObjectMissingError, ObjectStoreError):
        return False
    return True


def test_deleted_while_it_is_uploaded_nothing_of_it_stays(
    service: Running, front: ScriptedDoorbell, house: House, objects: SeaweedFs, tmp_path: Path
) -> None:
    clip = make_clip(FRONT, house.id, house.head.epoch_recipient, seed=21, sizes={FILE: 4_000_000})
    front.announce(clip)
    front.send(clip, FILE, clip.boxes[FILE].payload, stop_after=8)
    wait_until(lambda: files_below(tmp_path / "spool") != [], what="the spool")
    assert service.delete(clip) == 200
    wait_until(lambda: files_below(tmp_path / "spool") == [], what="an empty spool")
    outcome = front.send(clip, FILE, clip.boxes[FILE].payload)
    assert isinstance(outcome, GaveUp)
    assert (outcome.code, outcome.reason) == (Code.NEVER, Reason.DELETED)
    front.say(Leaf.CLIP, clip.announcement.encode())
    wait_until(lambda: front.refused.get(clip.id) == DELETED, what="the refusal")
    proofs = [proof for ack in front.received for proof in ack.deletions]
    assert {verify_deletion(proof, RECEIPT_KEY.public).clip for proof in proofs} == {clip.id}
    assert not is_stored(objects, clip)


def count_until_broken(pieces: Iterator[bytes]) -> int:
    """Return how many bytes came before the service closed the line."""
    count = 0
    try:
        for piece in pieces:
            count += len(piece)
    except httpx.RemoteProtocolError:
        return count
    raise AssertionError("all of it came")


def test_deleted_while_it_is_downloaded_the_line_breaks_off(
    service: Running, front: ScriptedDoorbell, house: House, objects: SeaweedFs
) -> None:
    # More than the line's buffers hold, or it would be sent before it is deleted.
    clip = make_clip(FRONT, house.id, house.head.epoch_recipient, seed=22, sizes={FILE: 24_000_000})
    front.announce(clip)
    front.deliver(clip, timeout_s=60)
    size = len(clip.boxes[FILE].envelope) + len(clip.boxes[FILE].payload)
    path = f"{service.url}/v1/clips/{clip.id}/file.age"
    received = 0
    with httpx.stream("GET", path, headers=service.headers, timeout=30) as answer:
        assert int(answer.headers["Content-Length"]) == size
        pieces = answer.iter_raw(65536)
        received += len(next(pieces))
        assert service.delete(clip) == 200
        received += count_until_broken(pieces)
    assert received < size
    wait_until(lambda: not is_stored(objects, clip), what="the objects' end")


def test_while_the_store_is_away_clips_are_deleted_and_the_objects_go_after_a_restart(
    start: Start, front: ScriptedDoorbell, house: House, objects: SeaweedFs
) -> None:
    clip = make_clip(FRONT, house.id, house.head.epoch_recipient, seed=23, sizes={FILE: 90_000})
    with start() as service:
        front.announce(clip)
        front.deliver(clip)
        with objects.away():
            assert service.delete(clip) == 200
            wait_until(lambda: service.worker.errors.get(OBJECTS, 0) > 0, what="the worker's try")
    wait_until(lambda: is_stored(objects, clip), what="the store, back with what it held")
    with start():
        wait_until(lambda: not is_stored(objects, clip), what="the objects' end")


def secrets_of(age_file: bytes) -> list[bytes]:
    """Return the parts of an age file's header that open it: the wrapped key and the MAC."""
    header = age_file[: age_file.index(b"\n", age_file.index(b"\n---") + 1)]
    return [part for part in header.split() if len(part) >= 40]


def files_with(folder: Path, parts: list[bytes]) -> list[str]:
    """Return the files below ``folder`` that hold one of ``parts``."""
    return [
        str(path.relative_to(folder))
        for path in files_below(folder)
        if path.is_file() and any(part in path.read_bytes() for part in parts)
    ]


def test_after_the_receipt_no_file_of_the_service_opens_the_clip_and_the_doorbell_forgets_it(
    home: Home,
) -> None:
    """Promise 7, its first half: on the whole product, in every file it writes."""
    with home.doorbell() as bell, Household(home.owner.home) as household:
        clip = home.wait_until_stored(ring(bell))
        path = f"/v1/clips/{clip.id}/file.age"
        sealed = household.ask(lambda service: service.get_bytes(path, 40_000_000))
        parts = secrets_of(sealed)
        assert len(parts) >= 2
        found = files_with(home.stack.folder, parts)
        assert found
        assert all(name.startswith("cloud/vault.db") for name in found)
        deletion = delete_clip(household, clip.id)
        assert deletion.clip == clip.id
        assert files_with(home.stack.folder, parts) == []
        with pytest.raises(NotThereError):
            household.ask(lambda service: service.get_bytes(path, 40_000_000))
        wish = Wish(clips=[clip.id])
        assert tell_doorbells(household, wish, [Doomed(clip.id, clip.device)]) == []
        on_card = home.card / "outbox" / clip.id
        wait_until(lambda: not on_card.exists(), within_s=60, what="the doorbell's own copy")
