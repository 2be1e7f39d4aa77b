"""A service's ingest under a flood of nonsense, with honest doorbells in the middle of it.

Everything of ingest is the real thing, over real databases and a real spool; only the
broker's line is played: whatever is published reaches ingest as paho would hand it over.
The hostile doorbell is enrolled and listed in a household of its own, and says what the
broker would let it say; a stranger and a revoked one say the same, and some topics are none.
"""

import gc
import hashlib
import json
import logging
import os
import pathlib
import random
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Final, Self, cast
from unittest.mock import patch

import structlog
from paho.mqtt.client import MQTTMessage
from sqlalchemy import select

from doorstep_cloud.clips.service import object_key
from doorstep_cloud.clips.tables import ClipRow, EnvelopeRow
from doorstep_cloud.devices.tables import DeviceRow
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.ingest import service as ingest_module
from doorstep_cloud.ingest.connection import BrokerAddress, Connection
from doorstep_cloud.ingest.counters import Count
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectConflictError, ObjectMissingError, ObjectStore
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId, DeviceId, HouseholdId, draw_clip_id
from doorstep_shared.manifest import ObjectName
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import Command, DeviceTopic, Leaf, Way, device_root, parse_topic
from doorstep_shared.transfer import CHUNK_BYTES, Init, encode_init
from doorstep_shared.wire import Hello, Status
from tests import scripted_doorbell
from tests.cloud_world import House, open_empty
from tests.people import (
    HOUSEHOLD,
    NOW_MS,
    OWNER,
    Doorbell,
    doorbell,
    epoch_identity,
    person,
    random_from,
)
from tests.scripted_doorbell import (
    Clip,
    LineChanged,
    ScriptedDoorbell,
    make_clip,
    make_event,
    make_health,
)
from tests.services import Certificates, Mosquitto, wait_until

RECIPIENT: Final = epoch_identity(1).recipient()
RECEIPT_KEY: Final = SigningKey.generate(random_from("receipt"))
NEIGHBOURS: Final = HouseholdId("n" * 26)
HOSTILE: Final = HouseholdId("m" * 26)
FRONT: Final = doorbell("front")
NEXT_DOOR: Final = doorbell("next door")
MALLORY: Final = doorbell("mallory")
REVOKED: Final = doorbell("revoked")
STRANGER: Final = doorbell("stranger")
SIZES: Final = {ObjectName.FILE: 300_000, ObjectName.THUMB: 5_000, ObjectName.DETAILS: 500}
MALLORYS_CLIPS: Final = 40
BOOT: Final = "0" * 32

# By ingest's quotas: the flood is as fast as it may be without being put out.
STEP_US: Final = 16_000
# The flood waits while so much waits, or all but its beginning would be dropped at the door.
WAITING: Final = 48
# Messages of anybody's from one ring of an honest doorbell to its next.
BETWEEN_TURNS: Final = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left after a flood.

    Attributes:
        counts: Of ingest.
        grown_bytes: By how much memory grew between a fifth of the flood and its end.
        spool_bytes: The most that lay in the spool.
        honest_rings: Acknowledged while the flood lasted.
        honest_clips: Stored, with receipts, while it lasted.
    """

    counts: dict[Count, int]
    grown_bytes: int
    spool_bytes: int
    honest_rings: int
    honest_clips: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What a service must have of a clip that it gave receipts for.

    Attributes:
        manifest: SHA-256 of the signed container, as ``envelopes`` and ``payloads`` have it of
            theirs: thousands of these are remembered while memory is measured.
    """

    id: ClipId
    manifest: bytes
    envelopes: tuple[bytes, ...]
    payloads: tuple[bytes, ...]

    @classmethod
    def of(cls, clip: Clip) -> "Kept":
        """Return what must be kept of ``clip``."""
        return cls(
            id=clip.id,
            manifest=sha256(clip.signed.encode()),
            envelopes=tuple(sha256(clip.boxes[name].envelope) for name in SIZES),
            payloads=tuple(sha256(clip.boxes[name].payload) for name in SIZES),
        )


def sha256(data: bytes) -> bytes:
    """Return what ``data`` hashes to."""
    return hashlib.sha256(data).digest()


class Hashes(ObjectStore):
    """An object store that keeps no bytes, only what they hash to."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put_if_absent(self, key: str, data: Path | bytes, sha256: bytes) -> bool:
        content = data if isinstance(data, bytes) else data.read_bytes()
        assert hashlib.sha256(content).digest() == sha256
        if self.held.setdefault(key, sha256) != sha256:
            raise ObjectConflictError("other bytes are here")
        return True

    def sha256_of(self, key: str) -> bytes:
        if key not in self.held:
            raise ObjectMissingError("nothing is stored here")
        return self.held[key]


class PlayedBroker:
    """Hands on what is published: up to ingest, down to whoever has subscribed."""

    def __init__(self) -> None:
        self.passed = 0
        self.ingest: Ingest | None = None
        self._down: dict[str, Callable[[str, bytes], None]] = {}
        # Ingest hears each of its connections on one thread.
        self._lines = {"control": threading.Lock(), "bulk": threading.Lock()}

    def subscribe(self, filters: Iterable[str], heard: Callable[[str, bytes], None]) -> None:
        self._down.update(dict.fromkeys(filters, heard))

    def up(self, topic: str, body: bytes) -> None:
        """Bring a message to the connection of ingest that has subscribed to it."""
        assert self.ingest is not None
        is_bulk = "/f/" in topic
        connection = self.ingest._bulk if is_bulk else self.ingest._control
        message = MQTTMessage(topic=topic.encode())
        message.payload = body
        with self._lines[connection.name]:
            self.passed += 1
            connection._on_message(connection._client, None, message)

    def down(self, topic: str, body: bytes) -> None:
        if (heard := self._down.get(topic)) is not None:
            heard(topic, body)


class PlayedLine:
    """One connection of a scripted doorbell to the played broker."""

    def __init__(
        self,
        broker: SimpleNamespace,
        _files: object,
        filters: Iterable[str],
        heard: Callable[[str, bytes], None],
        changed: Callable[[LineChanged], None],
    ) -> None:
        self._played: PlayedBroker = broker.played
        self._played.subscribe(filters, heard)
        self.is_up = threading.Event()
        self.is_up.set()
        changed(LineChanged(is_up=True))

    def publish(self, topic: str, body: bytes) -> None:
        self._played.up(topic, body)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(slots=True)
class Honest:
    """A doorbell that rings and delivers clips as long as the flood lasts."""

    bell: Doorbell
    household: HouseholdId
    rings: list[str] = field(default_factory=list)
    clips: list[Kept] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)

    def run(self, broker: SimpleNamespace, is_over: threading.Event) -> None:
        """Ring, bring a clip, and so on; at least once."""
        try:
            with ScriptedDoorbell(
                self.bell, cast("Mosquitto", broker), RECEIPT_KEY.public
            ) as speaking:
                turn = 0
                while turn == 0 or not is_over.is_set():
                    if broker.played.passed >= turn * BETWEEN_TURNS:
                        self._take_turn(speaking, turn)
                        turn += 1
                    is_over.wait(0.002)
        except BaseException as error:  # noqa: BLE001  # the boundary of this thread; raised by `flood`
            self.failed.append(error)

    def _take_turn(self, speaking: ScriptedDoorbell, turn: int) -> None:
        event = make_event(NOW_MS, seed=hash_of(self.bell.device.id, turn))
        speaking.ring(event)
        self.rings.append(event.event)
        clip = make_clip(self.bell, self.household, RECIPIENT, seed=turn, sizes=SIZES)
        speaking.announce(clip)
        speaking.deliver(clip)
        self.clips.append(Kept.of(clip))
        # Its mailboxes would be what grows.
        speaking.received.clear()
        while not speaking.other.empty():
            speaking.other.get()


def hash_of(device: DeviceId, turn: int) -> int:
    """Return a number that is the same in every process."""
    return int.from_bytes(hashlib.sha256(f"{device}/{turn}".encode()).digest()[:4])


class Noise:
    """Messages of one seed, without end: some nearly right, some nowhere near."""

    def __init__(self, seed: int, clips: list[Clip], honest: list[Clip]) -> None:
        self._random = random.Random(seed)
        self._own = clips
        self._honest = honest
        self._bodies = self._valid_bodies()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield topics with bodies; none of them is an honest doorbell's."""
        makers = (self._valid, self._mutated, self._mutated, self._transfer, self._transfer)
        while True:
            maker = self._random.choices((*makers, self._nonsense), (3, 6, 6, 6, 6, 3))[0]
            topic, body = maker()
            if not _is_honest(topic):
                yield topic, body

    def _device(self) -> DeviceId:
        bells = (MALLORY, REVOKED, STRANGER)
        return self._random.choices(bells, (8, 1, 1))[0].device.id

    def _valid_bodies(self) -> list[tuple[Leaf, bytes]]:
        health = make_health(NOW_MS, BOOT)
        hello = Hello(boot=BOOT, connections=1, agent="1.0", statement=None)
        status = Status(boot=BOOT, connections=1, online=True)
        events = [(Leaf.RING, make_event(NOW_MS, seed).encode()) for seed in range(20)]
        # Those of others too: their manifests are signed, and they are not the sender's.
        clips = [(Leaf.CLIP, clip.announcement.encode()) for clip in (*self._own, *self._honest)]
        return [
            *((leaf, body) for leaf, body in events),
            *((Leaf.MOTION, body) for _, body in events),
            *clips,
            (Leaf.HELLO, hello.encode()),
            (Leaf.HEALTH, health.encode()),
            (Leaf.STATUS, status.encode()),
        ]

    def _valid(self) -> tuple[str, bytes]:
        leaf, body = self._random.choice(self._bodies)
        return str(DeviceTopic(self._device(), leaf)), body

    def _mutated(self) -> tuple[str, bytes]:
        leaf, body = self._random.choice(self._bodies)
        if self._random.random() < 0.1:
            leaf = self._random.choice([leaf for leaf in Leaf if leaf.way is Way.UP])
        return str(DeviceTopic(self._device(), leaf)), mutate(body, self._random)

    def _transfer(self) -> tuple[str, bytes]:
        draw = self._random
        clip = draw.choice(self._own if draw.random() < 0.8 else self._honest)
        name = draw.choice(list(ObjectName))
        root = f"{device_root(self._device())}/f/"
        clip_id = clip.id if draw.random() < 0.95 else draw_clip_id(NOW_MS, draw.randbytes)
        command = draw.choice(list(Command))
        if draw.random() < 0.5:
            body = encode_init(Init()) if command is Command.INIT else b""
            if draw.random() < 0.2:
                body = mutate(body, draw)
            return f"{root}{clip_id}/{name.value}/{command.value}", body
        payload = clip.boxes[name].payload
        offset = CHUNK_BYTES * draw.randrange(4)
        body = payload[offset : offset + CHUNK_BYTES]
        if draw.random() < 0.3:
            body = mutate(body, draw)
        if draw.random() < 0.2:
            offset = draw.choice((1, 2**31, 99_999_999, 10**12, offset + 1))
        return f"{root}{clip_id}/{name.value}/{offset}", body

    def _nonsense(self) -> tuple[str, bytes]:
        draw = self._random
        whole = str(DeviceTopic(self._device(), draw.choice(list(Leaf))))
        levels = whole.split("/")
        draw.shuffle(levels)
        torn = "".join(chr(draw.randrange(1, 0xD800)) for _ in range(draw.randrange(80)))
        topic = draw.choice(("/".join(levels), torn, whole + "/" + torn, whole[1:], whole * 20))
        return topic, draw.randbytes(draw.choice((0, 1, 100, 2000, 160_000)))


def _is_honest(topic: str) -> bool:
    try:
        return parse_topic(topic).device in (FRONT.device.id, NEXT_DOOR.device.id)
    except BadMessageError:
        return False


ODD_VALUES: Final[tuple[object, ...]] = (
    None,
    True,
    -1,
    2**53,
    2**63,
    2**64,
    10**40,
    1.5,
    "",
    "\x00",
    "\ud800",
    "a" * 5000,
    "٣",
    [],
    {},
    [[[[[[[[[[]]]]]]]]]],
    {"v": 1},
)


def mutate(body: bytes, draw: random.Random) -> bytes:
    """Return ``body`` as a broken doorbell, or a clever one, might send it."""
    return draw.choice((_flip, _cut, _stretch, _revalue, _revalue, _revalue, _wrap))(body, draw)


def _flip(body: bytes, draw: random.Random) -> bytes:
    torn = bytearray(body or b"\x00")
    for _ in range(draw.randrange(1, 8)):
        torn[draw.randrange(len(torn))] ^= 1 << draw.randrange(8)
    return bytes(torn)


def _cut(body: bytes, draw: random.Random) -> bytes:
    return body[: draw.randrange(len(body) + 1)]


def _stretch(body: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(body) + 1)
    return body[:place] + draw.randbytes(draw.randrange(1, 300)) + body[place:]


def _wrap(body: bytes, draw: random.Random) -> bytes:
    depth = draw.choice((1, 8, 500, 20_000))
    return draw.choice((b"[" * depth, b'{"v":' * depth + body, body + body, b"NaN", b"\xff\xfe"))


def _revalue(body: bytes, draw: random.Random) -> bytes:
    """Give one member of a JSON body a value of another kind, drop it, or add one."""
    try:
        found = json.loads(body)
    except ValueError:
        return _flip(body, draw)
    place = found
    while isinstance(place, dict) and place:
        name = draw.choice(list(place))
        if isinstance(place[name], dict) and draw.random() < 0.7:
            place = place[name]
            continue
        action = draw.random()
        if action < 0.7:
            place[name] = draw.choice(ODD_VALUES)
        elif action < 0.85:
            del place[name]
        else:
            place[name + "x"] = draw.choice(ODD_VALUES)
        break
    return json.dumps(found).encode()


class FloodedService:
    """Ingest on a folder, hearing a played broker; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._us = 0
        self.broker = PlayedBroker()
        self.store = Hashes()

    def __enter__(self) -> Self:
        self.databases: Databases = self._stack.enter_context(open_empty(self._folder))
        mallory = person("mallory")
        House(self.databases, OWNER, HOUSEHOLD).welcome(FRONT)
        House(self.databases, person("neighbour"), NEIGHBOURS).welcome(NEXT_DOOR)
        house = House(self.databases, mallory, HOSTILE)
        house.welcome(MALLORY, REVOKED)
        house.revoke(REVOKED)
        self._stack.enter_context(little_said())
        self._stack.enter_context(_no_network(self.broker))
        self._stack.enter_context(patch.object(ingest_module, "_now_us", self._step))
        files = Certificates(self._folder).ingest()
        address = BrokerAddress("127.0.0.1", 9, files.ca, files.certificate, files.key)
        self.ingest = self.broker.ingest = Ingest(
            databases=self.databases,
            objects=self.store,
            hub=Hub(),
            broker=address,
            spool_folder=self._folder / "spool",
            receipt_key=RECEIPT_KEY,
            now_ms=lambda: NOW_MS,
        )
        self.ingest.start()
        self._stack.callback(self.ingest.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _step(self) -> int:
        self._us += STEP_US
        return self._us

    def spooled_bytes(self) -> int:
        """Return how much lies in the spool."""
        sizes = 0
        for folder, _, names in os.walk(self._folder / "spool"):
            for name in names:
                with suppress(FileNotFoundError):
                    sizes += Path(folder, name).stat().st_size
        return sizes

    def is_idle(self) -> bool:
        """Return whether nothing waits to be handled or stored."""
        load = self.ingest.load()
        return sum(load.waiting.values()) == 0 and load.transfers.storing == 0

    def has_time(self) -> bool:
        """Return whether ingest keeps up."""
        return sum(self.ingest.load().waiting.values()) < WAITING


def flood(folder: Path, seed: int, messages: int) -> Outcome:
    """Let ``messages`` of ``seed`` fall on a service; judge what it kept of them."""
    own = [
        make_clip(MALLORY, HOSTILE, RECIPIENT, seed=1000 + n, sizes=SIZES)
        for n in range(MALLORYS_CLIPS)
    ]
    # What the honest ones will bring: a hostile doorbell may have overheard it.
    overheard = [make_clip(FRONT, HOUSEHOLD, RECIPIENT, seed=n, sizes=SIZES) for n in range(5)]
    honest = [Honest(FRONT, HOUSEHOLD), Honest(NEXT_DOOR, NEIGHBOURS)]
    with FloodedService(folder) as service:
        is_over = threading.Event()
        played = SimpleNamespace(
            played=service.broker, certificates=SimpleNamespace(device=lambda _: None)
        )
        threads = [
            threading.Thread(target=one.run, args=(played, is_over), daemon=True) for one in honest
        ]
        for thread in threads:
            thread.start()
        try:
            spooled = _pour(service, Noise(seed, own, overheard), messages)
            is_over.set()
            for thread in threads:
                thread.join(60)
            # What is under way just now is no growth.
            wait_until(service.is_idle, what="the last message handled")
            grown = _traced_bytes()
        finally:
            is_over.set()
            tracemalloc.stop()
        for error in (error for one in honest for error in one.failed):
            raise error

        _judge(service, honest, own)
        return Outcome(
            counts=dict(service.ingest.counters.snapshot()),
            grown_bytes=grown,
            spool_bytes=spooled,
            honest_rings=sum(len(one.rings) for one in honest),
            honest_clips=sum(len(one.clips) for one in honest),
        )


def _pour(service: FloodedService, noise: Noise, messages: int) -> int:
    """Bring the messages, memory being traced from a fifth of them on; return the most spooled."""
    spooled, warm = 0, messages // 5
    for number, (topic, body) in zip(range(messages), noise, strict=False):
        if number == warm:
            gc.collect()
            tracemalloc.start()
        if number % 500 == 0:
            spooled = max(spooled, service.spooled_bytes())
        service.broker.up(topic, body)
        if not service.has_time():
            wait_until(service.has_time, what="a message handled")
    return max(spooled, service.spooled_bytes())


def _traced_bytes() -> int:
    """Return how much of what was taken since the tracing began is still held.

    Without the interpreter's own table of interned strings, to which pathlib adds and which
    is made anew, megabytes at a time, as names in it come and go.
    """
    gc.collect()
    ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])  # noqa: FBT003  # the library's
    return sum(trace.size for trace in ours.traces)


def _judge(service: FloodedService, honest: list[Honest], own: list[Clip]) -> None:
    """Compare the rows with what was honestly said: nothing missing, nothing of another."""
    households = {one.bell.device.id: one.household for one in honest}
    clips = {clip.id: clip for one in honest for clip in one.clips}
    rings = {ring: one.bell.device.id for one in honest for ring in one.rings}
    with service.databases.read() as unit:
        events = unit.main.scalars(select(EventRow)).all()
        rows = unit.main.scalars(select(ClipRow)).all()
        envelopes = unit.vault.scalars(select(EnvelopeRow)).all()
        devices = set(unit.main.scalars(select(DeviceRow.id)))
    assert devices == {b.device.id for b in (FRONT, NEXT_DOOR, MALLORY, REVOKED)}
    for event in events:
        assert event.household == households.get(DeviceId(event.device), HOSTILE)
        assert event.device in {*households, MALLORY.device.id}
    kept = {row.id: row.device for row in events if row.device in households}
    assert kept == rings
    mallorys = {clip.id for clip in own}
    for row in rows:
        if row.device == MALLORY.device.id:
            assert row.id in mallorys
        else:
            assert sha256(row.manifest) == clips[ClipId(row.id)].manifest
            assert row.household == households[DeviceId(row.device)]
            assert row.stored_at_ms is not None
    assert {row.id for row in rows} - mallorys == set(clips)
    for envelope in envelopes:
        if (known := clips.get(ClipId(envelope.clip))) is None:
            assert envelope.clip in mallorys
        else:
            place = list(SIZES).index(ObjectName(envelope.object))
            assert sha256(envelope.envelope) == known.envelopes[place]
    for clip in clips.values():
        held = tuple(service.store.held[object_key(clip.id, name)] for name in SIZES)
        assert held == clip.payloads


@contextmanager
def _no_network(broker: PlayedBroker) -> Iterator[None]:
    with (
        patch.object(Connection, "start"),
        patch.object(Connection, "stop"),
        patch.object(Connection, "publish", lambda _, topic, body: broker.down(topic, body)),
        patch.object(scripted_doorbell, "Line", PlayedLine),
    ):
        yield


@contextmanager
def little_said() -> Iterator[None]:
    """Keep the log to errors: pytest would hold a line of it for every message."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(**before)
