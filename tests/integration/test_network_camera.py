"""A doorbell whose camera is in the network, and everything that goes wrong with it there.

The agent and its adapters are the real ones, and so is the camera's server; card, lines and
button are in the test's hand. Time is the world's.
"""

import io
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import av
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from doorstep_device import agent as agent_module
from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.rtsp import RtspCamera
from doorstep_device.ports.camera import Camera
from doorstep_device.ports.panel import Light
from doorstep_device.recorder import RecordingRules
from doorstep_device.rules.episode import Episode
from doorstep_shared.manifest import Manifest, ObjectName
from doorstep_shared.topics import Leaf
from doorstep_shared.wire import CameraState, Health, decode_body
from tests.cards import enrolled_card
from tests.far_end import until
from tests.recording import open_object
from tests.rtsp import RtspServer, coded_film, network_camera
from tests.simulated_doorbell import ScriptedClock, SimulatedDoorbell, running_doorbell

SMALL, LARGE = (320, 180), (640, 360)
PASSWORD = "hunter2"
COMMAND = (sys.executable, "-m", "doorstep_device", "run", "--state")


class TrueClock(SystemClock):
    """The world's clock, in the place of one that a test moves."""

    @property
    def at_us(self) -> int:
        return self.monotonic_us()


class NetworkDoorbell(SimulatedDoorbell):
    """A doorbell that is told an address for its camera."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__(clock=cast("ScriptedClock", TrueClock()))

    def _camera(self) -> Camera:
        return RtspCamera(self.address, SystemClock())

    @property
    def camera_told(self) -> CameraState:
        """What the service was told last."""
        return decode_body(Health, self.control.bodies(Leaf.HEALTH)[-1]).camera


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtspServer]:
    """A network camera that is on; its key frames come every second."""
    with network_camera(tmp_path, coded_film(seconds=60, size=SMALL)) as server:
        yield server


@pytest.fixture
def facts() -> Iterator[list[EventDict]]:
    with capture_logs() as facts:
        yield facts


@pytest.fixture
async def bell(server: RtspServer, facts: list[EventDict]) -> AsyncIterator[NetworkDoorbell]:
    """A doorbell that is on, belongs to a household, and watches."""
    bell = NetworkDoorbell(server.address)
    async with running_doorbell(bell):
        await bell.belong()
        yield bell
    # Wherever it went: the password did not.
    assert PASSWORD not in str(facts)


def named(facts: list[EventDict], name: str) -> list[EventDict]:
    return [fact for fact in facts if fact["event"] == name]


def clips(bell: NetworkDoorbell) -> list[Manifest]:
    """Return the manifests of what was recorded, oldest first."""
    return sorted(
        (waiting.manifest for waiting in bell.outbox.pending_clips()), key=lambda one: one.seq
    )


def sizes_of(bell: NetworkDoorbell, manifest: Manifest) -> set[tuple[int, int]]:
    """Return the sizes of a clip's pictures, all of them decoded, and what its head says."""
    clear = open_object(bell.outbox, manifest.clip, ObjectName.FILE)
    with av.open(io.BytesIO(clear), "r") as container:
        head = container.streams.video[0]
        told = {(head.width, head.height)}
        return told | {(image.width, image.height) for image in container.decode(video=0)}


async def test_a_camera_that_stalls_is_told_and_is_back_when_it_goes_on(
    bell: NetworkDoorbell, server: RtspServer, facts: list[EventDict]
) -> None:
    bell.bulk.disconnect()  # clips stay on the card, for the test to open
    await bell.press()
    await until(lambda: bell.panel.lights == [Light.RECORDING], "the recording")
    server.stall()
    await until(lambda: bool(named(facts, "camera_stalled")), "the stall")
    (told,) = named(facts, "camera_stalled")
    assert told["reason"] == "the RTSP camera has given no picture for 5 s"
    assert told["do"]
    await until(lambda: bell.camera_told is CameraState.FAILED, "the news of it")
    assert bell.panel.lights == [Light.RECORDING, Light.OFF]
    (clip,) = clips(bell)
    assert not clip.truncated
    assert sizes_of(bell, clip) == {SMALL}
    await bell.press()  # the button rings all the while
    assert len(bell.rings()) == 2
    server.go_on()
    await until(lambda: bool(named(facts, "camera_back")), "the camera's return")
    await until(lambda: bell.camera_told is not CameraState.FAILED, "the news of that")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A visit lasts until the doorbell is stopped, however slow this machine is."""
    long = partial(RecordingRules, episode=Episode(post_roll_us=300_000_000))
    monkeypatch.setattr(agent_module, "RecordingRules", long)


@pytest.mark.usefixtures("patience")
async def test_a_camera_that_died_and_is_another_one_now_begins_the_next_part(
    server: RtspServer, facts: list[EventDict]
) -> None:
    bell = NetworkDoorbell(server.address)
    async with running_doorbell(bell):
        await bell.belong()
        bell.bulk.disconnect()
        await bell.press()
        await until(lambda: bell.panel.lights == [Light.RECORDING], "the recording")
        server.kill()
        await until(lambda: bool(named(facts, "camera_failed")), "the loss")
        server.start(coded_film(seconds=20, size=LARGE, gop_s=4))
        await until(lambda: bool(named(facts, "camera_back")), "the camera's return")
        await until(lambda: bell.panel.lights[2:] == [Light.RECORDING], "the second part")
    first, second = clips(bell)
    assert [first.events, second.events] == [tuple(bell.rings())] * 2
    assert (first.part, second.part) == (1, 2)
    assert sizes_of(bell, first) == {SMALL}
    assert sizes_of(bell, second) == {LARGE}
    assert not first.truncated


@pytest.mark.usefixtures("patience")
async def test_pictures_that_change_their_size_begin_the_next_part(
    tmp_path: Path, facts: list[EventDict]
) -> None:
    film = [*coded_film(seconds=4, size=SMALL), *coded_film(seconds=20, size=LARGE)]
    with network_camera(tmp_path, film) as server:
        bell = NetworkDoorbell(server.address)
        async with running_doorbell(bell):
            await bell.belong()
            bell.bulk.disconnect()
            await bell.press()
            await until(lambda: bool(named(facts, "camera_changed")), "the change")
            # It begins anew with its film, and small, for whoever asks anew.
            await until(lambda: bell.panel.lights[2:] == [Light.RECORDING], "the next part")
    first, second = clips(bell)[:2]
    assert (first.part, second.part) == (1, 2)
    assert sizes_of(bell, first) == sizes_of(bell, second) == {SMALL}


# ── the command ──


@contextmanager
def running_agent(card: Path, source: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run the real agent with ``source`` for a camera, until the block ends."""
    process = subprocess.Popen(
        [*COMMAND, str(card), *(["--video", source] if source else [])],
        env={"GPIOZERO_PIN_FACTORY": "mock", "PATH": "/usr/bin"} | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()


def first_fact(process: subprocess.Popen[str], name: str) -> dict[str, object]:
    """Return the first fact of that name; nothing that was read tells the password."""
    assert process.stdout is not None
    for line in process.stdout:
        assert PASSWORD not in line
        if f'"{name}"' in line:
            return dict(json.loads(line))
    raise AssertionError(f"{name} was not told")


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return enrolled_card(tmp_path_factory.mktemp("home") / "card")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("/nowhere/door.mp4", "there is no such file"),
        ("/etc", "it is a folder"),
        ("/etc/passwd", "not a video"),
        ("/dev/video-none", "is not there"),
        (f"rtsp://owner:{PASSWORD}@127.0.0.1:1/door", "takes no connection"),
    ],
)
def test_the_agent_runs_on_with_a_broken_camera(card: Path, source: str, reason: str) -> None:
    with running_agent(card, source) as process:
        fact = first_fact(process, "camera_failed")
        assert reason in str(fact["reason"])
        assert fact["do"]
        assert process.poll() is None


def test_the_agent_takes_its_camera_from_the_settings(card: Path) -> None:
    with running_agent(card, "", DOORSTEP_DEVICE_VIDEO="rtsp://127.0.0.1:1/door") as process:
        assert "RTSP" in str(first_fact(process, "camera_failed")["reason"])


def test_an_address_of_another_kind_is_refused_without_repeating_it(card: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(card), "--video", f"http://owner:{PASSWORD}@127.0.0.1/live.m3u8"],
        env={"GPIOZERO_PIN_FACTORY": "mock", "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 1
    assert PASSWORD not in done.stdout + done.stderr
    assert "Do: name a file" in done.stderr
