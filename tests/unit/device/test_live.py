"""A live camera, whatever it is plugged into."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar, cast

import av
import pytest
from av.container import InputContainer
from av.video.stream import VideoStream

from doorstep_device.adapters import live
from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.live import LiveCamera
from doorstep_device.ports.camera import (
    CameraChangedError,
    CameraFailedError,
    CameraStalledError,
    Packet,
    VideoFormat,
)
from tests.footage import write_video
from tests.rtsp import FPS, coded_film

DEADLINE_S = 20

Item = TypeVar("Item")


class FileFeed:
    """Gives all of a file at once, and then what the test wants."""

    name = "the camera of this test"

    def __init__(self, path: Path, *, may_be_kept: bool = True) -> None:
        self.path = path
        self.may_be_kept = may_be_kept
        self.opens = 0

    def open(self) -> InputContainer:
        self.opens += 1
        return av.open(str(self.path))

    def lost(self, error: Exception | None) -> CameraFailedError:
        return CameraFailedError(f"it is over ({error})")


class GeneratedFeed(FileFeed):
    """Gives pictures in the library's own time."""

    def __init__(self, graph: str) -> None:
        super().__init__(Path(), may_be_kept=False)
        self.graph = graph

    def open(self) -> InputContainer:
        return av.open(self.graph, format="lavfi")


def written(path: Path, film: list[bytes]) -> Path:
    """Write coded pictures with their times and in Annex B, as a network brings them."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_mux_stream("h264", rate=FPS, width=320, height=180)
        for number, data in enumerate(film):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, FPS)
            packet.pts = packet.dts = number
            container.mux_one(packet)
    return path


def without_marks(data: bytes) -> bytes:
    """Return an access unit without the delimiter that MPEG-TS puts before it."""
    return data[data.index(b"\x00\x00\x00\x01", 1) :] if data[4] & 0x1F == 9 else data


async def drain(stream: AsyncIterator[Item]) -> tuple[list[Item], Exception | None]:
    found: list[Item] = []
    try:
        async for item in stream:
            found.append(item)  # noqa: PERF401 - what came before an error counts
    except CameraFailedError as error:
        return found, error
    return found, None


def watch(feed: live.Feed) -> tuple[VideoFormat, list[Packet], Exception | None]:
    async def scenario() -> tuple[VideoFormat, list[Packet], Exception | None]:
        async with LiveCamera(feed, SystemClock()) as camera:
            return camera.format, *(await drain(camera.packets()))

    return asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()


def test_what_may_be_kept_is_kept_to_the_byte(tmp_path: Path) -> None:
    film = coded_film(seconds=3)
    video, packets, end = watch(FileFeed(written(tmp_path / "a.ts", film)))
    assert (video.width_px, video.height_px) == (320, 180)
    assert [without_marks(packet.data) for packet in packets] == film
    assert "it is over (None)" in str(end)


def test_what_may_not_be_kept_is_encoded_with_a_key_frame_a_second(tmp_path: Path) -> None:
    film = coded_film(seconds=4, gop_s=4)
    _, packets, _ = watch(FileFeed(written(tmp_path / "a.ts", film)))
    assert len(packets) == len(film)
    assert sum(packet.is_key for packet in packets) >= 4
    assert not {packet.data for packet in packets} & set(film)


def test_pictures_out_of_order_are_encoded_in_order(tmp_path: Path) -> None:
    """As `write_video` codes them: with pictures that build upon later ones."""
    video, packets, _ = watch(FileFeed(write_video(tmp_path / "a.mp4", seconds=3)))
    assert video.width_px == 320
    assert len(packets) > 40
    assert all(a.at_us < b.at_us for a, b in itertools.pairwise(packets))


def test_a_source_without_times_is_stamped_by_our_clock(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(coded_film(seconds=4)))
    _, packets, _ = watch(FileFeed(path))
    assert len(packets) == 60
    assert all(a.at_us < b.at_us for a, b in itertools.pairwise(packets))


@pytest.mark.parametrize("gop_s", [1.0, 3.0], ids=["kept", "encoded"])
def test_another_size_ends_the_stream_before_its_first_picture(
    tmp_path: Path, gop_s: float
) -> None:
    film = coded_film(seconds=3, gop_s=gop_s)
    other = coded_film(seconds=3, gop_s=gop_s, size=(640, 360))
    _, packets, end = watch(FileFeed(written(tmp_path / "a.ts", [*film, *other])))
    assert isinstance(end, CameraChangedError)
    assert "recorded before is kept" in end.safe
    assert len(packets) == len(film)


def test_more_than_thirty_pictures_a_second_are_thinned() -> None:
    video, packets, _ = watch(GeneratedFeed("testsrc=size=64x48:rate=60:duration=2,realtime"))
    assert video.fps == 30
    assert len(packets) == pytest.approx(60, abs=4)


def test_a_large_picture_is_encoded_small() -> None:
    video, _, _ = watch(GeneratedFeed("testsrc=size=1920x1080:rate=5:duration=1"))
    assert (video.width_px, video.height_px) == (1280, 720)


@pytest.mark.parametrize("gop_s", [0.2, 3.0], ids=["kept", "encoded"])
def test_a_picture_beyond_every_camera_for_doors_is_refused(tmp_path: Path, gop_s: float) -> None:
    film = coded_film(seconds=0.5, size=(2576, 1456), gop_s=gop_s)
    with pytest.raises(CameraFailedError, match="sends pictures of 2576 x 1456") as caught:
        watch(FileFeed(written(tmp_path / "a.ts", film)))
    assert "1280 x 720" in caught.value.do


def test_pictures_that_become_too_large_are_not_even_decoded(tmp_path: Path) -> None:
    film = [*coded_film(seconds=3, gop_s=3), *coded_film(seconds=0.5, size=(2576, 1456))]
    video, packets, end = watch(FileFeed(written(tmp_path / "a.ts", film)))
    assert video.width_px == 320
    assert len(packets) == 45
    assert not isinstance(end, CameraChangedError)
    assert "it is over" in str(end)


@pytest.mark.parametrize("name", ["a.ts", "a.h264"], ids=["with times", "without times"])
def test_what_is_kept_until_a_stream_is_judged_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    film = coded_film(seconds=1)
    path = written(tmp_path / "a.ts", film)
    (tmp_path / "a.h264").write_bytes(b"".join(film))
    monkeypatch.setattr(live, "MOST_FIRST_BYTES", 1000)
    with pytest.raises(CameraFailedError, match="than there is room for"):
        watch(FileFeed(path.with_name(name)))


def test_what_came_without_times_is_given_out_before_it_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty pictures may wait for the first time; not thirty of any size."""
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(coded_film(seconds=1)))
    monkeypatch.setattr(live, "MOST_FIRST_BYTES", 1000)
    taken: list[int] = []

    def demux(stream: VideoStream) -> Iterator[live.AvPacket]:
        for packet in container.demux(stream):
            taken.append(packet.size)
            yield packet

    loop = asyncio.new_event_loop()
    capture = live._Capture(FileFeed(path), SystemClock(), loop)
    with av.open(str(path)) as container:
        counted = cast("InputContainer", SimpleNamespace(demux=demux))
        next(capture._arriving(counted, container.streams.video[0]))
    loop.close()
    assert sum(taken[:-2]) <= 1000
    assert len(taken) < 15


def test_no_block_of_memory_in_the_library_is_larger_than_any_picture(tmp_path: Path) -> None:
    watch(FileFeed(written(tmp_path / "a.ts", coded_film(seconds=1))))
    av.VideoFrame(3840, 2160, "gray")
    with pytest.raises(MemoryError):
        av.VideoFrame(8192, 8192, "gray")


def test_a_source_that_is_over_at_once_fails(tmp_path: Path) -> None:
    class Empty(FileFeed):
        def open(self) -> InputContainer:
            container = super().open()
            list(container.demux(video=0))
            return container

    feed = Empty(written(tmp_path / "a.ts", coded_film(seconds=1)))
    with pytest.raises(CameraFailedError, match="over"):
        watch(feed)


def test_a_library_that_breaks_off_is_told_without_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = live._decode
    calls = 0

    def breaks(packet: live.AvPacket, stamp_us: int) -> list[av.VideoFrame]:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise av.error.OSError(5, "Input/output error", "rtsp://owner:hunter2@door")
        return real(packet, stamp_us)

    monkeypatch.setattr(live, "_decode", breaks)

    class Discreet(FileFeed):
        def lost(self, error: Exception | None) -> CameraFailedError:
            return CameraFailedError("it broke off" if error else "it ended")

    _, packets, end = watch(Discreet(written(tmp_path / "a.ts", coded_film(seconds=3))))
    assert str(end) == "it broke off"
    assert end is not None
    assert (end.__cause__, end.__context__) == (None, None)
    assert len(packets) == 20


def test_a_mistake_of_ours_crashes_its_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "small_luma", lambda _: 1 // 0)
    feed = FileFeed(written(tmp_path / "a.ts", coded_film(seconds=2)))
    with pytest.raises(ZeroDivisionError):
        watch(feed)


class HungFeed(GeneratedFeed):
    """Gives some pictures, then nothing, until let go."""

    def __init__(self, pictures: int) -> None:
        super().__init__("testsrc=size=64x48:rate=30:duration=60,realtime")
        self.pictures = pictures
        self.let_go = threading.Event()

    def hang(self) -> None:
        self.pictures -= 1
        if self.pictures < 0:
            self.let_go.wait(DEADLINE_S)


def test_a_source_that_hangs_has_stalled_though_its_thread_still_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A driver's read cannot be interrupted."""
    monkeypatch.setattr(live, "STALLED_S", 0.5)
    monkeypatch.setattr(live, "_JOIN_S", 0.05)
    feed = HungFeed(20)
    real = live._decode

    def decode(packet: live.AvPacket, stamp_us: int) -> list[av.VideoFrame]:
        feed.hang()
        return real(packet, stamp_us)

    monkeypatch.setattr(live, "_decode", decode)
    _, packets, end = watch(feed)
    feed.let_go.set()
    assert isinstance(end, CameraStalledError)
    assert end.fact == "the camera of this test has given no picture for 0 s"
    assert "button rings" in end.safe
    assert 0 < len(packets) <= 20


def test_a_source_that_does_not_open_has_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "OPENS_WITHIN_S", 0.2)
    monkeypatch.setattr(live, "_JOIN_S", 0.05)

    class Closed(HungFeed):
        def open(self) -> InputContainer:
            self.hang()
            return super().open()

    feed = Closed(0)
    with pytest.raises(CameraStalledError):
        watch(feed)
    feed.let_go.set()


def test_a_source_that_hangs_is_not_opened_again_until_its_thread_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tried for ever: each try would leave another thread."""
    monkeypatch.setattr(live, "OPENS_WITHIN_S", 0.2)
    monkeypatch.setattr(live, "_JOIN_S", 0.05)

    class Closed(HungFeed):
        def open(self) -> InputContainer:
            self.opens += 1
            self.hang()
            raise self.lost(None)

    feed = Closed(0)
    with pytest.raises(CameraStalledError):
        watch(feed)
    for _ in range(3):
        with pytest.raises(CameraFailedError, match="hangs in its driver") as failed:
            watch(feed)
        assert "button rings" in failed.value.safe
    assert feed.opens == len(camera_threads()) == 1
    feed.let_go.set()
    for thread in camera_threads():
        thread.join(DEADLINE_S)
    with pytest.raises(CameraFailedError, match="it is over"):
        watch(feed)


def test_a_source_that_hangs_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(live, "OPENS_WITHIN_S", 0.2)
    monkeypatch.setattr(live, "_JOIN_S", 0.05)

    class Other(HungFeed):
        name = "another camera"

        def open(self) -> InputContainer:
            self.hang()
            raise self.lost(None)

    feed = Other(0)
    with pytest.raises(CameraStalledError):
        watch(feed)
    monkeypatch.setattr(live, "OPENS_WITHIN_S", DEADLINE_S)
    _, packets, _ = watch(FileFeed(written(tmp_path / "a.ts", coded_film(seconds=2))))
    assert packets
    feed.let_go.set()


def camera_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "camera"]


def test_pictures_that_cannot_be_decoded_are_no_pictures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "STALLED_S", 0.5)
    monkeypatch.setattr(live, "_decode", lambda *_: [])
    _, packets, end = watch(GeneratedFeed("testsrc=size=64x48:rate=30,realtime"))
    assert isinstance(end, CameraStalledError)
    assert packets == []


def test_telling_it_to_stop_while_it_opens_leaves_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        feed = FileFeed(written(tmp_path / "a.ts", coded_film(seconds=1)))
        starting = asyncio.create_task(LiveCamera(feed, SystemClock()).start())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_camera_that_was_not_started_has_no_streams(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="started"):
        LiveCamera(FileFeed(tmp_path), SystemClock()).packets()
