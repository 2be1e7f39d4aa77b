"""A whole doorbell in memory: the real agent on a simulated disk, camera and lines scripted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import numpy as np
from numpy.typing import NDArray

from doorstep_device.agent import Agent, Brokers, Parts
from doorstep_device.commands import Commands
from doorstep_device.household import Membership
from doorstep_device.outbox import Outbox
from doorstep_device.ports.camera import Camera, CameraFailedError, Frame, Packet, VideoFormat
from doorstep_device.ports.panel import Light
from doorstep_device.rules.motion import NO_MOTION, Box, Motion, MotionRule
from doorstep_device.rules.press import Edge, Level
from doorstep_device.uplink import Boot
from doorstep_device.worker import Worker
from doorstep_shared.claim import DeviceKeys
from doorstep_shared.ids import EventId
from doorstep_shared.signing import Signed
from doorstep_shared.topics import Leaf
from doorstep_simulator.disk import SimulatedDisk
from tests.far_end import PATIENCE_S, ScriptedBroker, ScriptedService, until
from tests.people import FRONT_DOOR, NOW_MS, first_head, successor
from tests.recording import (
    FRAME_US,
    GIB,
    RECEIPT_KEY,
    VIDEO,
    open_outbox,
    picture,
    random_bytes,
)

STILL = np.full((180, 320), 50, np.uint8)
MOVING = np.full((180, 320), 200, np.uint8)

LISTED: dict[str, object] = {"devices": (FRONT_DOOR.device,)}


def honest_statements() -> list[Signed]:
    """Return the household's chain: its first statement, and one that lists the doorbell."""
    return [first_head().signed, successor(first_head(), **LISTED)]


@dataclass(slots=True)
class ScriptedClock:
    """A clock that a camera's pictures move on.

    Attributes:
        at_us: Its monotonic time.
        wrong_by: How far its wall time is off.
    """

    at_us: int = 0
    wrong_by: timedelta = timedelta()

    def monotonic_us(self) -> int:
        """As `Clock.monotonic_us`."""
        return self.at_us

    def now(self) -> datetime:
        """As `Clock.now`."""
        passed = timedelta(microseconds=self.at_us) + self.wrong_by
        return datetime.fromtimestamp(NOW_MS / 1000, UTC) + passed

    def is_synced(self) -> bool:
        """As `Clock.is_synced`."""
        return True

    async def sleep(self, seconds: float) -> None:
        """As `Clock.sleep`."""
        until_us = self.at_us + seconds * 1e6
        await asyncio.sleep(0)
        while self.at_us < until_us:  # noqa: ASYNC110  # whoever films moves it on
            await asyncio.sleep(0.001)


class ScriptedPanel:
    """A button and a light.

    Attributes:
        lights: What the light has shown.
    """

    def __init__(self) -> None:
        self.lights: list[Light] = []
        self.is_closed = False
        self._edges: asyncio.Queue[Edge | None] = asyncio.Queue()

    async def edges(self) -> AsyncIterator[Edge]:
        """As `Panel.edges`."""
        while (edge := await self._edges.get()) is not None:
            yield edge

    def show(self, light: Light) -> None:
        """As `Panel.show`."""
        self.lights.append(light)

    def close(self) -> None:
        """As `Panel.close`."""
        self.is_closed = True
        self._edges.put_nowait(None)

    def touch(self, level: Level, at_us: int) -> None:
        """Let the contact change."""
        self._edges.put_nowait(Edge(level, at_us))


class ScriptedCamera(Camera):
    """Gives the pictures that a test takes."""

    def __init__(self, *, is_there: bool = True) -> None:
        self.is_there = is_there
        self.taken: asyncio.Queue[tuple[Packet, Frame] | Exception | None] = asyncio.Queue()
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self.is_closed = False

    @property
    def format(self) -> VideoFormat:
        """As `Camera.format`."""
        return VIDEO

    async def start(self) -> None:
        """As `Camera.start`."""
        if not self.is_there:
            raise CameraFailedError("there is no camera", do="plug it in")

    async def close(self) -> None:
        """As `Camera.close`."""
        self.is_closed = True

    async def packets(self) -> AsyncIterator[Packet]:
        """As `Camera.packets`."""
        while (item := await self.taken.get()) is not None:
            if isinstance(item, Exception):
                raise item
            packet, frame = item
            self._frames.put_nowait(frame)
            yield packet
            self.taken.task_done()
        self._frames.put_nowait(None)

    async def frames(self) -> AsyncIterator[Frame]:
        """As `Camera.frames`."""
        while (frame := await self._frames.get()) is not None:
            yield frame
            self._frames.task_done()

    async def is_seen(self) -> None:
        """Return when the doorbell has taken in all that was given."""
        async with asyncio.timeout(PATIENCE_S):
            await self.taken.join()
            await self._frames.join()


class BrightnessRule:
    """Calls a bright picture a moving one; in the place of a `MotionRule`."""

    def start(self) -> None:
        """As `MotionRule.start`."""

    def feed(self, state: None, luma: NDArray[np.uint8], at_us: int) -> tuple[None, Motion]:
        """As `MotionRule.feed`."""
        del at_us
        if luma.mean() < 100:
            return state, NO_MOTION
        return state, Motion(is_moving=True, score=1.0, box=Box(0, 0, 320, 180))


@dataclass(slots=True)
class SimulatedDoorbell:
    """The agent, and everything around it in a test's hand.

    Attributes:
        cameras: Those it has started, the running one last.
        tries_without: So many more of them are not there when started.
    """

    disk: SimulatedDisk = field(default_factory=SimulatedDisk)
    clock: ScriptedClock = field(default_factory=ScriptedClock)
    panel: ScriptedPanel = field(default_factory=ScriptedPanel)
    control: ScriptedBroker = field(default_factory=ScriptedBroker)
    bulk: ScriptedBroker = field(default_factory=ScriptedBroker)
    cameras: list[ScriptedCamera] = field(default_factory=list)
    has_camera: bool = True
    tries_without: int = 0
    cap_bytes: int = GIB
    number: int = 0
    outbox: Outbox = field(init=False)
    membership: Membership = field(init=False)
    commands: Commands = field(init=False)
    service: ScriptedService = field(init=False)
    agent: Agent = field(init=False)
    running: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        device = FRONT_DOOR.device
        keys = DeviceKeys(device.id, device.tls_key, device.manifest_key, device.age_recipient)
        self.outbox = open_outbox(self.disk, cap_bytes=self.cap_bytes)
        self.membership = Membership(self.disk, first_head().root, keys)
        self.commands = Commands(
            self.disk, device.id, self.membership, self.outbox, not_before_ms=0
        )
        self.service = ScriptedService(device.id, self.control, self.bulk, RECEIPT_KEY)
        self.service.statements = honest_statements()
        self.agent = Agent(
            Parts(
                boot=Boot(device.id, "ab" * 16, "doorstep 0.1.0"),
                clock=self.clock,
                network_clock=self.clock,
                events_worker=Worker(),
                worker=Worker(),
                outbox=self.outbox,
                membership=self.membership,
                commands=self.commands,
                brokers=Brokers(self.control, self.bulk),
                panel=self.panel,
                make_camera=self._camera if self.has_camera else None,
                rule=cast("MotionRule", BrightnessRule()),
                pre_roll_s=2.0,
                random=random_bytes("agent"),
                chance=lambda: 0.5,
            )
        )

    def _camera(self) -> Camera:
        self.cameras.append(ScriptedCamera(is_there=self.tries_without <= 0))
        self.tries_without -= 1
        return self.cameras[-1]

    async def start(self) -> None:
        """Switch it on; its camera runs."""
        self.running = asyncio.create_task(self.agent.run())
        if self.has_camera:
            await until(lambda: self.agent._recorder is not None, "the camera's start")

    async def stop(self) -> None:
        """Tell it to stop; it does."""
        assert self.running is not None
        self.running.cancel()
        await asyncio.wait([self.running], timeout=PATIENCE_S)
        assert self.running.cancelled()

    async def belong(self) -> None:
        """Connect it to the service, which lists it."""
        self.service.connect()
        await until(lambda: self.membership.sealing() is not None, "the statements")
        await until(lambda: self.agent._sealing_allowed, "the leave to record")

    async def film(self, seconds: float, luma: NDArray[np.uint8] = STILL) -> None:
        """Let the camera take pictures for so long."""
        camera = self.cameras[-1]
        for _ in range(round(seconds * VIDEO.fps)):
            self.clock.at_us = self.number * FRAME_US
            frame = Frame(luma, self.clock.at_us)
            camera.taken.put_nowait((picture(self.number), frame))
            self.number += 1
            await camera.is_seen()

    async def press(self) -> None:
        """Press the button; the ring is stored."""
        before = len(self.rings())
        self.touch()
        await until(lambda: len(self.rings()) > before, "the ring")

    def touch(self) -> None:
        """Press the button, bouncing."""
        for offset_us, level in (
            (0, Level.HELD),
            (900, Level.RELEASED),
            (2_000, Level.HELD),
            (200_000, Level.RELEASED),
        ):
            self.panel.touch(level, self.clock.at_us + offset_us)

    def fail_camera(self) -> None:
        """Let the running camera give no more pictures."""
        self.cameras[-1].taken.put_nowait(CameraFailedError("the cable came off"))

    def rings(self) -> list[EventId]:
        """Return the rings that came to the service or wait here, each once."""
        told = [event for leaf, event in self.service.events if leaf is Leaf.RING]
        waiting = [w.event.event for w in self.outbox.pending_events() if w.kind == "ring"]
        return list(dict.fromkeys([*told, *waiting]))

    def motions(self) -> list[EventId]:
        """Return the motion that came to the service, each once."""
        told = [event for leaf, event in self.service.events if leaf is Leaf.MOTION]
        return list(dict.fromkeys(told))


@asynccontextmanager
async def running_doorbell(bell: SimulatedDoorbell) -> AsyncIterator[SimulatedDoorbell]:
    """Run ``bell`` until the block ends."""
    await bell.start()
    try:
        yield bell
    finally:
        await bell.stop()
