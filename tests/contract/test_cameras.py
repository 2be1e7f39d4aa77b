"""What every camera promises; add yours to `CAMERAS`."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from doorstep_device.adapters.clock import PacedClock
from doorstep_device.adapters.live import LiveCamera
from doorstep_device.adapters.rtsp import RtspCamera
from doorstep_device.adapters.video import VideoCamera
from doorstep_device.adapters.webcam import WebcamFeed
from doorstep_device.ports.camera import Camera, Frame, Packet, VideoFormat
from doorstep_device.ports.clock import Clock
from doorstep_simulator.scene import Scene
from doorstep_simulator.scene_camera import SceneCamera
from tests.footage import write_video
from tests.rtsp import coded_film, network_camera

WATCH_US = 3_200_000
RATE = 4
DEADLINE_S = 30

MakeCamera = Callable[[Clock, Path], Camera]
# A live camera runs at the world's pace, whatever the clock.
LIVE = {"RTSP", "RTSP, encoded here", "webcam"}


def video_camera(clock: Clock, folder: Path) -> Camera:
    """Make a camera that plays for at least four seconds."""
    return VideoCamera(write_video(folder / "door.mp4", seconds=2), clock, hold_last_s=3)


def slow_video_camera(clock: Clock, folder: Path) -> Camera:
    """Make one with four pictures a second, whose rows are padded in memory."""
    video = write_video(folder / "trees.mp4", seconds=5, fps=4, size=(162, 122))
    return VideoCamera(video, clock)


def scene_camera(clock: Clock, _folder: Path) -> Camera:
    """Make one that films the built-in doorstep without end."""
    return SceneCamera(Scene(7, 5.0, width_px=320, height_px=180), clock)


class NetworkCamera(RtspCamera):
    """An RTSP camera whose server runs as long as it does."""

    def __init__(self, clock: Clock, folder: Path, gop_s: float) -> None:
        self._network = ExitStack()
        self._server = self._network.enter_context(network_camera(folder))
        self._gop_s = gop_s
        super().__init__(self._server.address, clock)

    async def start(self) -> None:
        self._server.start(coded_film(seconds=12, gop_s=self._gop_s))
        await super().start()

    async def close(self) -> None:
        await super().close()
        self._network.close()


def rtsp_camera(clock: Clock, folder: Path) -> Camera:
    """Make one whose packets are kept as they come."""
    return NetworkCamera(clock, folder, 1.0)


def rtsp_camera_of_few_key_frames(clock: Clock, folder: Path) -> Camera:
    """Make one whose pictures have to be encoded anew."""
    return NetworkCamera(clock, folder, 4.0)


def webcam(clock: Clock, _folder: Path) -> Camera:
    """Make one that gives raw pictures; the kernel's part is played by the library."""
    return LiveCamera(WebcamFeed("testsrc=rate=15,realtime", driver="lavfi"), clock)


CAMERAS: dict[str, MakeCamera] = {
    "RTSP": rtsp_camera,
    "RTSP, encoded here": rtsp_camera_of_few_key_frames,
    "webcam": webcam,
    "scene": scene_camera,
    "video": video_camera,
    "slow video": slow_video_camera,
}


@dataclass(frozen=True)
class Watched:
    """What a camera gave in three seconds of its clock."""

    video: VideoFormat
    packets: list[Packet]
    frames: list[Frame]
    started_us: int
    ended_us: int


async def watch(name: str, folder: Path) -> Watched:
    clock, make = PacedClock(rate_of(name)), CAMERAS[name]
    packets: list[Packet] = []
    frames: list[Frame] = []
    started_us = clock.monotonic_us()
    async with make(clock, folder) as camera:

        async def read_frames() -> None:
            async for frame in camera.frames():
                frames.append(frame)  # noqa: PERF401 - kept if it is cancelled

        reader = asyncio.create_task(read_frames())
        async for packet in camera.packets():
            packets.append(packet)
            if packet.at_us - packets[0].at_us >= WATCH_US:
                break
        ended_us = clock.monotonic_us()
        video = camera.format
    await asyncio.wait_for(reader, DEADLINE_S)
    return Watched(video, packets, frames, started_us, ended_us)


@pytest.fixture(scope="module", params=CAMERAS)
def watched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("camera")
    return asyncio.run(asyncio.wait_for(watch(request.param, folder), DEADLINE_S))


@pytest.fixture(params=CAMERAS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_camera(name: str) -> MakeCamera:
    return CAMERAS[name]


def rate_of(name: str) -> int:
    return 1 if name in LIVE else RATE


def nal_types(data: bytes) -> list[int]:
    """Return the types of the units that follow an Annex B start code."""
    return [unit[0] & 0x1F for unit in data.split(b"\x00\x00\x01")[1:]]


def test_times_rise_in_both_streams(watched: Watched) -> None:
    for stream in (watched.packets, watched.frames):
        times = [item.at_us for item in stream]
        assert len(times) > 5
        assert all(a < b for a, b in itertools.pairwise(times))


def test_both_streams_tell_the_same_time_of_the_same_clock(watched: Watched) -> None:
    packet_times = {packet.at_us for packet in watched.packets}
    last_us = watched.packets[-1].at_us
    assert {frame.at_us for frame in watched.frames if frame.at_us <= last_us} <= packet_times
    assert watched.started_us <= watched.packets[0].at_us
    assert last_us <= watched.ended_us


def test_frames_are_the_small_grid_at_most_ten_times_a_second(watched: Watched) -> None:
    for frame in watched.frames:
        assert frame.luma.shape == (180, 320)
        assert frame.luma.dtype == np.uint8
    span_us = watched.frames[-1].at_us - watched.frames[0].at_us
    assert len(watched.frames) - 1 <= span_us / 99_000


def test_the_stream_opens_with_a_key_frame_and_each_carries_its_headers(watched: Watched) -> None:
    assert watched.packets[0].is_key
    for packet in watched.packets:
        assert packet.data.startswith((b"\x00\x00\x01", b"\x00\x00\x00\x01"))
        types = nal_types(packet.data)
        if packet.is_key:
            assert {7, 8, 5} <= set(types), "SPS, PPS, IDR"
            assert types.index(7) < types.index(8) < types.index(5)
        else:
            assert 5 not in types


def test_a_key_frame_comes_every_second_to_the_nearest_picture(watched: Watched) -> None:
    keys = [packet.at_us for packet in watched.packets if packet.is_key]
    picture_us = 1_000_000 / watched.video.fps
    assert len(keys) >= 3
    for one, other in itertools.pairwise(keys):
        assert abs(other - one - 1_000_000) <= picture_us


def test_every_packet_decodes_to_a_picture_of_the_promised_size(watched: Watched) -> None:
    pictures = decode(watched.packets)
    assert len(pictures) == len(watched.packets)
    size = (watched.video.width_px, watched.video.height_px)
    assert {(picture.width, picture.height) for picture in pictures} == {size}
    assert size[0] % 2 == size[1] % 2 == 0


def test_decoding_can_begin_at_any_key_frame(watched: Watched) -> None:
    keys = [i for i, packet in enumerate(watched.packets) if packet.is_key]
    rest = watched.packets[keys[-1] :]
    assert len(decode(rest)) == len(rest)


def decode(packets: list[Packet]) -> list[VideoFrame]:
    decoder = VideoCodecContext.create("h264", "r")
    data = b"".join(packet.data for packet in packets)
    units = [*decoder.parse(data), *decoder.parse(None)]
    return [frame for unit in [*units, None] for frame in decoder.decode(unit)]


def test_closing_ends_both_streams_and_leaves_no_thread(
    make_camera: MakeCamera, tmp_path: Path
) -> None:
    async def scenario() -> None:
        camera = make_camera(PacedClock(1), tmp_path)
        await camera.start()
        packets = camera.packets()
        await anext(packets)
        await camera.close()
        await camera.close()
        assert len([packet async for packet in packets]) < 100
        assert len([frame async for frame in camera.frames()]) <= 1

    before = set(threading.enumerate())
    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
    assert set(threading.enumerate()) <= before


def test_a_camera_that_never_started_closes_quietly(
    make_camera: MakeCamera, tmp_path: Path
) -> None:
    asyncio.run(make_camera(PacedClock(1), tmp_path).close())


def test_a_slow_reader_gets_the_newest_frame(
    name: str, make_camera: MakeCamera, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with make_camera(PacedClock(rate_of(name)), tmp_path) as camera:
            packets = camera.packets()
            first = await anext(packets)
            async for packet in packets:
                if packet.at_us - first.at_us >= 2_000_000:
                    break
            frame = await anext(camera.frames())
            assert frame.at_us - first.at_us >= 1_500_000

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
