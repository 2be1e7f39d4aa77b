"""Where pictures come from, as people name it, and what is told when none come."""

import asyncio
import errno
import socket
import traceback
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from doorstep_device.adapters import webcam as webcam_module
from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.rtsp import RtspCamera, RtspFeed
from doorstep_device.adapters.source import camera_maker
from doorstep_device.adapters.video import VideoCamera
from doorstep_device.adapters.webcam import WISHES, WebcamCamera, WebcamFeed
from doorstep_device.ports.camera import Camera, CameraFailedError, CameraStalledError
from doorstep_shared.errors import RefusedError
from doorstep_simulator.processes import free_ports
from tests.rtsp import answering, scripted_camera

SECRET = "hunter2"
ADDRESS = f"rtsp://owner:{SECRET}@192.168.1.20:554/live?token={SECRET}"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("door.mp4", VideoCamera),
        ("tcp:door.mp4", VideoCamera),
        ("/home/a/door.mp4", VideoCamera),
        ("/dev/video0", WebcamCamera),
        ("/dev/v4l/by-id/usb-a-webcam", WebcamCamera),
        (ADDRESS, RtspCamera),
        ("rtsps://door.example/live", RtspCamera),
    ],
)
def test_a_source_is_known_by_its_name(source: str, kind: type[Camera]) -> None:
    assert isinstance(camera_maker(source, SystemClock())(), kind)


@pytest.mark.parametrize(
    "source",
    [
        f"http://owner:{SECRET}@door.example/live.m3u8",
        f"RTSP://owner:{SECRET}@door.example/live",
        f"concat://{SECRET}",
        f"rtsp:///{SECRET}",
        f"rtsp://owner:{SECRET}@door.example:port/live",
        f"rtsp://owner:{SECRET}@door.example:0/live",
        f"rtsp://owner:{SECRET}@[door/live",
        f"rtsp://owner:{SECRET}@door.example/a b",
        f"rtsp://owner:{SECRET}@door.example/\x1b[2J",
    ],
)
def test_any_other_address_is_refused_without_repeating_it(source: str) -> None:
    with pytest.raises(RefusedError) as caught:
        camera_maker(source, SystemClock())
    error = caught.value
    assert SECRET not in error.fact + error.safe + error.do
    assert error.safe == "Nothing was started."
    assert "rtsp://USER:PASSWORD@HOST" in error.do


# ── network cameras ────────────────────────────────────────────────────────────────────


def failure_of(port: int) -> CameraFailedError:
    """Return why there are no pictures from what listens at ``port``."""
    address = f"rtsp://owner:{SECRET}@127.0.0.1:{port}/live?token={SECRET}"
    with pytest.raises(CameraFailedError) as caught:
        asyncio.run(RtspCamera(address, SystemClock()).start())
    return caught.value


@pytest.mark.parametrize(
    ("status", "fact", "do"),
    [
        ("401 Unauthorized", "refuses this user or password", "rtsp://USER:PASSWORD@"),
        ("403 Forbidden", "refuses this user or password", "rtsp://USER:PASSWORD@"),
        ("404 Not Found", "has no stream at this path", "manual"),
        ("500 Internal Error", "answers something else", "port and the path"),
    ],
)
def test_what_a_camera_answers_is_told_with_what_to_do(status: str, fact: str, do: str) -> None:
    with answering(f"RTSP/1.0 {status}\r\nCSeq: 1\r\n\r\n".encode()) as port:
        error = failure_of(port)
    assert error.fact.startswith(f"the RTSP camera {fact}")
    assert do in error.do
    assert "button rings" in error.safe


def test_a_port_where_nothing_listens_is_told() -> None:
    (port,) = free_ports(1)
    assert failure_of(port).fact == "the RTSP camera takes no connection"


def test_a_name_that_nobody_knows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", resolve)
    assert failure_of(1).fact == "the RTSP camera cannot be reached"


def test_a_camera_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    opened_with(monkeypatch, av.error.ExitError(errno.EINTR, "Immediate exit requested"))
    with scripted_camera() as camera:
        assert failure_of(camera.port).fact == "the RTSP camera does not answer"


@pytest.mark.parametrize(
    ("error", "fact"),
    [
        (av.error.OSError(errno.EIO, "Input/output error"), "cannot be reached"),
        (av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"), "are too large"),
        (UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "invalid start byte"), "cannot be read"),
    ],
)
def test_whatever_else_goes_wrong_with_a_network_camera_is_its_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, fact: str
) -> None:
    opened_with(monkeypatch, error)
    with scripted_camera() as camera:
        failed = failure_of(camera.port)
    assert fact in failed.fact
    assert failed.do
    assert failed.__context__ is None


def test_a_stream_without_pictures_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = av.open("anullsrc", format="lavfi")
    monkeypatch.setattr(av, "open", lambda *_, **__: silent)
    with scripted_camera() as camera:
        assert failure_of(camera.port).fact == "the RTSP camera gives no video"


def test_neither_an_error_nor_its_trace_nor_the_library_shows_the_address(
    capfd: pytest.CaptureFixture[str],
) -> None:
    (port,) = free_ports(1)
    error = failure_of(port)
    assert (error.__cause__, error.__context__) == (None, None)
    shown = "".join([*traceback.format_exception(error), error.fact, error.safe, error.do])
    told = capfd.readouterr()
    assert SECRET not in shown + told.out + told.err + repr(RtspFeed(ADDRESS))


def test_a_stream_that_ends_and_one_that_hangs_are_told_apart() -> None:
    feed = RtspFeed(ADDRESS)
    hung = feed.lost(av.error.ExitError(errno.EINTR, "Immediate exit requested"))
    assert isinstance(hung, CameraStalledError)
    for ended in (feed.lost(None), feed.lost(av.error.ConnectionResetError(104, "reset"))):
        assert not isinstance(ended, CameraStalledError)
        assert "ended its stream" in ended.fact


def test_the_library_speaks_rtsp_over_tcp_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = opened_with(monkeypatch, ConnectionRefusedError())
    with scripted_camera() as camera, pytest.raises(CameraFailedError):
        RtspFeed(camera.address()).open()
    assert asked[0]["protocol_whitelist"] == "rtsp,tcp"
    assert asked[0]["rtsp_transport"] == "tcp"


# ── webcams ────────────────────────────────────────────────────────────────────────────


def opened_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> list[dict[str, str]]:
    """Let the library fail like this; return the options it will have been asked with."""
    asked: list[dict[str, str]] = []

    def fail(*_: object, options: dict[str, str], **__: object) -> None:
        asked.append(options)
        raise error

    monkeypatch.setattr(av, "open", fail)
    return asked


@pytest.mark.parametrize(
    ("number", "fact", "do"),
    [
        (errno.ENOENT, "is not there", "plug it in"),
        (errno.EACCES, "may not be read", "usermod -aG video"),
        (errno.EBUSY, "is in use", "fuser /dev/video7"),
        (errno.ENOTTY, "is no camera", "ls /dev/video*"),
        (errno.ENODEV, "gives no pictures", "plug it in again"),
    ],
)
def test_a_webcam_that_cannot_be_had_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, number: int, fact: str, do: str
) -> None:
    asked = opened_with(monkeypatch, OSError(number, "no"))
    with pytest.raises(CameraFailedError) as caught:
        WebcamFeed("/dev/video7").open()
    assert caught.value.fact.startswith(f"the webcam /dev/video7 {fact}")
    assert do in caught.value.do
    assert "button rings" in caught.value.safe
    assert len(asked) == 1, "no other wish would help"


@pytest.mark.parametrize(
    ("device", "fact"),
    [("/dev/video-none", "is not there"), ("/dev/null", "is no camera"), ("/dev/", "a folder")],
)
def test_a_device_that_is_none_is_told_by_the_library_itself(device: str, fact: str) -> None:
    with pytest.raises(CameraFailedError, match=fact):
        asyncio.run(WebcamCamera(device, SystemClock()).start())


def test_a_webcam_that_cannot_do_as_asked_is_asked_for_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = opened_with(monkeypatch, av.error.OSError(errno.EINVAL, "Invalid argument"))
    with pytest.raises(CameraFailedError, match="is no camera"):
        WebcamFeed("/dev/video7").open()
    assert asked == list(map(dict, WISHES))
    assert asked[0] == {"input_format": "mjpeg", "framerate": "15", "video_size": "1280x720"}
    assert asked[-1] == {}


def test_whatever_else_goes_wrong_with_a_webcam_is_its_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened_with(monkeypatch, UnicodeDecodeError("utf-8", b"\xfc", 0, 1, "invalid start byte"))
    with pytest.raises(CameraFailedError, match="gives no pictures"):
        WebcamFeed("/dev/video7").open()


def test_the_first_wish_that_is_granted_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webcam_module, "WISHES", ({"video_size": "nonsense"}, {}))
    with WebcamFeed("testsrc=size=64x48", driver="lavfi").open() as container:
        assert container.streams.video[0].width == 64


@pytest.mark.parametrize("end", [None, OSError(errno.ENODEV, "No such device")])
def test_a_webcam_that_is_pulled_out_is_told(end: Exception | None) -> None:
    error = WebcamFeed("/dev/video7").lost(end)
    assert "no more pictures" in error.fact or "no pictures" in error.fact
    assert "plug it in again" in error.do


# ── a file, in a camera's place ────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "fact"),
    [
        (lambda _: None, "there is no such file"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_text("a letter\n" * 100), "not a video"),
        (lambda path: path.write_text("#EXTM3U\na.mp4\n"), "a list of other files"),
        (lambda path: path.mkdir(), "it is a folder"),
    ],
    ids=["missing", "empty", "a letter", "a playlist", "a folder"],
)
def test_a_broken_file_is_a_camera_that_failed(
    tmp_path: Path, make: Callable[[Path], object], fact: str
) -> None:
    path = tmp_path / "door.mp4"
    make(path)
    with pytest.raises(CameraFailedError, match=fact) as caught:
        asyncio.run(camera_maker(str(path), SystemClock())().start())
    assert caught.value.do
