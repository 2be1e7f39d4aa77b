import asyncio
import errno
import os
import socketserver
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import pytest

from doorstep_device.adapters import capture
from doorstep_device.adapters import video as video_module
from doorstep_device.adapters.capture import PacedCamera, Picture, small_luma
from doorstep_device.adapters.clock import PacedClock
from doorstep_device.adapters.encoder import H264Encoder, fit_within_720p
from doorstep_device.adapters.progress import show_progress
from doorstep_device.adapters.video import (
    AddressForFileError,
    BadVideoError,
    VideoCamera,
    VideoFile,
)
from doorstep_device.motion_report import write_motion_csv
from doorstep_device.ports.camera import CameraFailedError, Packet, VideoFormat
from doorstep_device.rules.motion import MotionRule
from tests.footage import write_video

DEADLINE_S = 30

Item = TypeVar("Item")


async def read_packets(camera: VideoCamera) -> list[Packet]:
    async with camera:
        return [packet async for packet in camera.packets()]


def play(camera: VideoCamera) -> list[Packet]:
    return asyncio.run(asyncio.wait_for(read_packets(camera), DEADLINE_S))


async def drain(stream: AsyncIterator[Item], into: list[Item]) -> None:
    async for item in stream:
        into.append(item)  # noqa: PERF401 - what came before an error counts


# ── files as they come ─────────────────────────────────────────────────────────────────


def test_every_picture_of_a_file_is_read_with_its_time(tmp_path: Path) -> None:
    with VideoFile(write_video(tmp_path / "a.mp4", seconds=2, fps=10)) as video:
        frames = list(video.frames())
        assert (video.width_px, video.height_px, video.fps) == (320, 180, 10)
        assert video.frame_count == 20
    assert [frame.at_us for frame in frames] == list(range(0, 2_000_000, 100_000))
    assert frames[0].luma[90, 20] > 200, "the square"
    assert int(frames[0].luma[20, 319]) > int(frames[0].luma[20, 0]) + 60, "the ramp"


@pytest.mark.parametrize(
    ("content", "why", "safe", "do"),
    [
        (None, "there is no such file", "Nothing was read", "look at its name"),
        (b"", "it is empty", "Nothing was read", "copy or record it again"),
        (b"Dear household,\n" * 100, "not a video", "only read", "try another file"),
    ],
    ids=["missing", "empty", "a letter"],
)
def test_a_file_that_is_no_video_is_refused_with_what_to_do(
    tmp_path: Path, content: bytes | None, why: str, safe: str, do: str
) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadVideoError, match=why) as caught, VideoFile(path):
        pass
    assert safe in caught.value.safe
    assert do in caught.value.do
    assert str(path) in caught.value.fact
    assert not caught.value.fact.endswith(".")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(BadVideoError, match="folder") as caught, VideoFile(tmp_path):
        pass
    assert "Nothing was read" in caught.value.safe
    assert caught.value.do == "name a file in it"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "bell.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(BadVideoError, match="no picture"), VideoFile(path):
        pass


def test_a_video_that_was_cut_off_says_where(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", seconds=6)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        VideoFile(path) as video,
        pytest.raises(BadVideoError, match=r"cut off after .* of 6\.0 s"),
    ):
        list(video.frames())


def test_a_video_without_a_picture_that_decodes_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", seconds=1)
    content = path.read_bytes()
    begin = content.index(b"mdat") + 4
    path.write_bytes(content[:begin] + b"\xff" * (len(content) - begin))
    with VideoFile(path) as video, pytest.raises(BadVideoError, match="not one picture"):
        list(video.frames())


def test_one_damaged_packet_is_left_out_as_players_do(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", seconds=3)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.pos is not None]
    content = bytearray(path.read_bytes())
    hurt = packets[20]
    assert hurt.pos is not None
    content[hurt.pos : hurt.pos + hurt.size] = b"\xff" * hurt.size
    path.write_bytes(content)
    with VideoFile(path) as video:
        frames = list(video.frames())
    assert 40 <= len(frames) < 45


def test_a_raw_stream_without_times_gets_them_from_its_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.h264"
    path.write_bytes(b"".join(p.data for p in play(still(tmp_path, hold_last_s=1))))
    with VideoFile(path) as video:
        times = [frame.at_us for frame in video.frames()]
        assert video.frame_count is None
    assert len(times) == len(set(times)) > 15
    assert times == sorted(times)


def test_a_name_that_looks_like_an_address_is_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "a.mp4", seconds=1).rename(tmp_path / "tcp:a.mp4")
    with VideoFile(Path("tcp:a.mp4")) as video:
        assert len(list(video.frames())) == 15


def test_even_a_name_with_a_folder_that_looks_like_an_address_is_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rtsp:" / "door").mkdir(parents=True)
    write_video(tmp_path / "a.mp4", seconds=1).rename(tmp_path / "rtsp:" / "door" / "a.mp4")
    with VideoFile(Path("rtsp://door/a.mp4")) as video:
        assert len(list(video.frames())) == 15


@pytest.mark.parametrize("address", ["rtsp://u:hunter2@h/x", "rtsp:/u:hunter2@h", "HTTP://hunter2"])
def test_an_address_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(AddressForFileError) as caught:
        VideoFile(Path(address)).__enter__()
    error = caught.value
    assert "hunter2" not in error.fact + error.safe + error.do


def test_a_playlist_does_not_reach_out(tmp_path: Path) -> None:
    callers: list[object] = []

    class NoteCaller(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            callers.append(self.client_address)

    with socketserver.TCPServer(("127.0.0.1", 0), NoteCaller) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        path = tmp_path / "a.m3u8"
        path.write_text(
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\n"
            f"http://127.0.0.1:{server.server_address[1]}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(BadVideoError, match="list of other files"), VideoFile(path):
            pass
        server.shutdown()
        thread.join()
    assert callers == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\na.mp4\n#EXT-X-ENDLIST\n"),
        ("a.txt", "ffconcat version 1.0\nfile a.mp4\n"),
        (
            "a.mpd",
            '<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet/></Period></MPD>',
        ),
    ],
    ids=["HLS", "concat", "DASH"],
)
def test_a_playlist_is_refused_though_what_it_names_lies_beside_it(
    tmp_path: Path, name: str, text: str
) -> None:
    write_video(tmp_path / "a.mp4", seconds=1)
    (tmp_path / name).write_text(text)
    with pytest.raises(BadVideoError, match="list of other files") as caught:
        VideoFile(tmp_path / name).__enter__()
    assert caught.value.do == "name one of the files in it"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.srt", "1\n00:00:00,000 --> 00:00:01,000\nHello\n"),
        ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\nHello\n"),
        ("a.ass", "[Script Info]\n[Events]\nDialogue: 0,0:00:00.00,0:00:01.00,,,0,0,0,,Hello\n"),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nm=video 5004 RTP/AVP 96\n"),
    ],
)
def test_subtitles_and_session_descriptions_are_no_video(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BadVideoError, match="not a video") as caught:
        VideoFile(tmp_path / name).__enter__()
    assert "try another file" in caught.value.do


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(BadVideoError, match="a pipe") as caught:
        VideoFile(tmp_path / "a.mp4").__enter__()
    assert caught.value.do == "name a file"


def test_a_file_of_somebody_else_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise av.error.PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(av, "open", refused)
    with pytest.raises(BadVideoError, match="not permitted") as caught:
        VideoFile(tmp_path / "a.mp4").__enter__()
    assert caught.value.do.startswith("chmod u+r ")


def test_times_that_step_back_in_a_file_still_rise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: VideoFile) -> Iterator[av.VideoFrame]:
        for pts in (1000, 2000, 1500, None, 2500):
            frame = av.VideoFrame(320, 180, "yuv420p")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            yield frame

    monkeypatch.setattr(VideoFile, "_decoded", broken)
    with VideoFile(write_video(tmp_path / "a.mp4", seconds=0.2, fps=10)) as video:
        times = [picture.at_us for picture in video.pictures()]
    assert times == [0, 1_000_000, 1_000_001, 1_100_001, 1_500_000]


def test_a_decoder_that_gives_up_is_told_as_a_bad_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gives_up(_packet: object) -> list[av.VideoFrame]:
        raise PermissionError

    monkeypatch.setattr(video_module, "_decode", gives_up)
    path = write_video(tmp_path / "a.mp4", seconds=1)
    with VideoFile(path) as video, pytest.raises(BadVideoError, match="not permitted"):
        list(video.frames())


def test_reading_a_file_that_was_not_opened_is_a_mistake_of_ours(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="opened"):
        list(VideoFile(tmp_path / "a.mp4").frames())


# ── a file as a camera ─────────────────────────────────────────────────────────────────


def still(folder: Path, *, hold_first_s: float = 0, hold_last_s: float = 0) -> VideoCamera:
    video = write_video(folder / "still.mp4", seconds=1)
    return VideoCamera(video, PacedClock(20), hold_first_s=hold_first_s, hold_last_s=hold_last_s)


def test_the_first_and_the_last_picture_are_held(tmp_path: Path) -> None:
    packets = play(still(tmp_path, hold_first_s=8, hold_last_s=15))
    assert len(packets) == pytest.approx((8 + 1 + 15) * 15, abs=2)
    span_s = (packets[-1].at_us - packets[0].at_us) / 1e6
    assert span_s >= 24 - 0.1


def test_a_file_plays_at_the_pace_of_the_clock(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock = PacedClock(4)
        async with VideoCamera(write_video(tmp_path / "a.mp4", seconds=4), clock) as camera:
            async for packet in camera.packets():
                assert packet.at_us <= clock.monotonic_us(), "not before its time"

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_machine_too_slow_for_the_clock_drops_no_picture(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", seconds=4)
    packets = play(VideoCamera(video, PacedClock(10_000)))
    assert len(packets) == 60
    assert packets[-1].at_us - packets[0].at_us > 4_000_000


def test_more_than_thirty_pictures_a_second_are_thinned(tmp_path: Path) -> None:
    camera = VideoCamera(write_video(tmp_path / "a.mp4", seconds=1, fps=60), PacedClock(10))
    assert len(play(camera)) == 30


def test_a_large_video_is_encoded_small(tmp_path: Path) -> None:
    async def scenario() -> VideoFormat:
        video = write_video(tmp_path / "a.mp4", seconds=0.2, size=(1920, 1088))
        async with VideoCamera(video, PacedClock(1)) as camera:
            return camera.format

    assert asyncio.run(scenario()) == VideoFormat(1270, 720, 15)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((1920, 1080), (1280, 720)),
        ((1080, 1920), (404, 720)),
        ((320, 180), (320, 180)),
        ((161, 121), (160, 120)),
        ((5000, 3), (1280, 2)),
    ],
)
def test_pictures_fit_within_720p_with_even_sides(
    size: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert fit_within_720p(*size) == fitted


def test_a_camera_on_a_bad_file_fails_at_its_start(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with VideoCamera(tmp_path / "none.mp4", PacedClock(1)):
            pass

    with pytest.raises(CameraFailedError, match="no such file") as caught:
        asyncio.run(scenario())
    assert caught.value.do


def test_a_camera_on_a_cut_file_plays_up_to_the_cut_and_fails(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", seconds=6)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    async def scenario() -> list[Packet]:
        packets: list[Packet] = []
        async with VideoCamera(path, PacedClock(20)) as camera:
            with pytest.raises(CameraFailedError, match="cut off"):
                await drain(camera.packets(), packets)
            with pytest.raises(CameraFailedError, match="cut off"):
                await drain(camera.frames(), [])
        return packets

    assert len(asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))) > 20


def test_a_camera_fails_when_nobody_reads_its_packets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "PACKETS_WAIT_S", 2)

    async def scenario() -> list[Packet]:
        packets: list[Packet] = []
        async with still(tmp_path, hold_last_s=3) as camera:
            with pytest.raises(CameraFailedError, match="not read for 2 s"):
                await drain(camera.frames(), [])
            with pytest.raises(CameraFailedError, match="not read for 2 s"):
                await drain(camera.packets(), packets)
        return packets

    waited = asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
    assert len(waited) == 2 * 15, "what had waited is not lost"


def test_a_camera_that_was_not_started_has_no_streams(tmp_path: Path) -> None:
    camera = VideoCamera(tmp_path / "a.mp4", PacedClock(1))
    with pytest.raises(RuntimeError, match="started"):
        camera.packets()


# ── any source of pictures ─────────────────────────────────────────────────────────────


class Painted:
    """Two pictures, an hour apart, and then a mistake of ours."""

    def __init__(self, second_at_us: int) -> None:
        self.second_at_us = second_at_us
        self.has_closed = False

    def open(self) -> VideoFormat:
        return VideoFormat(64, 36, 10)

    def pictures(self) -> Iterator[Picture]:
        yield Picture(np.full((36, 64, 3), 200, np.uint8), 0)
        yield Picture(np.full((36, 64, 3), 100, np.uint8), self.second_at_us)
        raise ZeroDivisionError("a mistake of ours")

    def close(self) -> None:
        time.sleep(0.05)  # letting go of hardware takes a while
        self.has_closed = True


def test_a_mistake_in_the_capture_thread_crashes_its_readers() -> None:
    async def scenario() -> None:
        packets: list[Packet] = []
        async with PacedCamera(Painted(100_000), PacedClock(1)) as camera:
            with pytest.raises(ZeroDivisionError):
                await drain(camera.packets(), packets)
            frame = await anext(camera.frames())
        assert len(packets) == 2
        assert frame.luma.mean() == pytest.approx(100, abs=1)

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_closing_waits_for_the_source_to_close_but_not_for_the_next_picture() -> None:
    source = Painted(3_600_000_000)

    class WatchedClock(PacedClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(0.05)  # by now the thread waits for this sleep's end
            is_waiting.set()
            await super().sleep(seconds)

    is_waiting = asyncio.Event()

    async def scenario() -> None:
        async with PacedCamera(source, WatchedClock(1)) as camera:
            packets = camera.packets()
            assert (await anext(packets)).is_key
            await is_waiting.wait()
        assert source.has_closed
        with pytest.raises(StopAsyncIteration):
            await anext(packets)

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


@pytest.mark.parametrize("fps", [4, 7.3, 12, 15, 29.97])
def test_key_frames_come_at_the_picture_nearest_to_the_second(fps: float) -> None:
    encoder = H264Encoder(VideoFormat(64, 36, fps))
    grey = np.full((36, 64, 3), 128, np.uint8)
    packets = [p for i in range(40) for p in encoder.encode(grey, round(i * 1e6 / fps))]
    assert encoder.close() == []
    assert len(packets) == 40
    keys = [packet.at_us for packet in packets if packet.is_key]
    assert keys[1] - keys[0] == pytest.approx(1_000_000, abs=500_000 / fps)


def test_luma_is_read_from_a_format_without_a_plane_of_it() -> None:
    picture = av.VideoFrame.from_ndarray(np.full((36, 64, 3), 255, np.uint8), format="bgr24")
    assert small_luma(picture).min() >= 230


# ── the table ──────────────────────────────────────────────────────────────────────────


def test_the_table_of_a_video_shows_progress_only_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", seconds=2)
    out = tmp_path / "a.csv"
    with VideoFile(path) as video, show_progress("motion") as progress:
        assert write_motion_csv(video, out, MotionRule(), progress).frames == 30
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with VideoFile(path) as video, show_progress("motion") as progress:
        write_motion_csv(video, out, MotionRule(), progress)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "30/30" in shown.err
    assert len(out.read_text().splitlines()) == 31
