"""Video files: as a camera, and frame by frame."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import av.error
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from doorstep_device.adapters.capture import PacedCamera, Picture, small_luma
from doorstep_device.adapters.encoder import fit_within_720p
from doorstep_device.ports.camera import Frame, VideoFormat
from doorstep_device.ports.clock import Clock
from doorstep_shared.errors import BadMessageError

# What holds pictures itself. A playlist holds names of other files, and addresses.
_CONTAINERS: Final = (
    "mov,matroska,avi,mpegts,mpeg,h264,hevc,obu,ivf,m4v,mpegvideo,mjpeg,flv,asf,ogg,"
    "gif,mxf,dv,rm,yuv4mpegpipe,nut,wav,mp3,aac,flac"
)
_OPTIONS: Final = {"protocol_whitelist": "file", "format_whitelist": _CONTAINERS}
_PLAYLISTS: Final = (b"#EXTM3U", b"ffconcat", b"<MPD", b"[playlist]", b"<smil")
_FALLBACK_FPS: Final = 25.0
# More is given up: a doorbell gains nothing from 60 pictures a second.
_MAX_FPS: Final = 30.0
# A whole stream may end a little before what its header says (trimming, rounding).
_MAY_BE_SHORT_S: Final = 1.0
# A path keeps one of an address's two slashes.
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")


class BadVideoError(BadMessageError):
    """A file that is not a video, or not a whole one."""

    def __init__(
        self,
        path: Path,
        why: str,
        *,
        safe: str = "The file was only read.",
        do: str = "try another file, or convert this one to H.264 in MP4",
    ) -> None:
        """Say which file and why."""
        super().__init__(f"{path} is no usable video: {why}", safe=safe, do=do)


class AddressForFileError(BadMessageError):
    """An address where a file's name is wanted; not repeated: it may hold a password."""


def is_address(text: str) -> bool:
    """Return whether ``text`` reads like an address, as ``rtsp://door/live`` does."""
    return _ADDRESS.match(text) is not None


class VideoFile:
    """A video file, opened by `with` and read once, from its beginning.

    A packet that cannot be decoded is left out, as players do.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self._path = path
        self._container: InputContainer | None = None

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            AddressForFileError: It is missing, and an address in place of a name.
            BadVideoError: It is missing, unreadable, or no video.
        """
        _refuse_address(self._path)
        _refuse_what_never_ends(self._path)
        try:
            # "file:" and an absolute path: a name like rtsp://host stays a file's name.
            self._container = av.open(f"file:{self._path.absolute()}", options=dict(_OPTIONS))
        except (av.error.FFmpegError, OSError) as error:
            raise _bad(self._path, error) from error
        if not self._container.streams.video:
            self._container.close()
            raise BadVideoError(self._path, "it holds no picture")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()

    @property
    def width_px(self) -> int:
        """Width of its pictures."""
        return self._stream().width

    @property
    def height_px(self) -> int:
        """Height of its pictures."""
        return self._stream().height

    @property
    def fps(self) -> float:
        """Average pictures per second; 25 when it does not say."""
        return float(self._stream().average_rate or _FALLBACK_FPS)

    @property
    def frame_count(self) -> int | None:
        """How many pictures it claims to hold; None if it does not say."""
        return self._stream().frames or None

    def pictures(self) -> Iterator[Picture]:
        """Yield every picture, timed from the first one.

        Raises:
            BadVideoError: It holds no picture, or ends before its header says.
        """
        step_us = round(1_000_000 / self.fps)
        first_us: int | None = None
        at_us = -1
        for image in self._decoded():
            if image.pts is None:
                due_us = at_us + step_us
            else:
                stamp_us = round(image.time * 1e6)
                first_us = stamp_us if first_us is None else first_us
                due_us = stamp_us - first_us
            # A broken stamp must not turn time back.
            at_us = max(due_us, at_us + 1)
            yield Picture(image, at_us)
        self._check_length(at_us)

    def frames(self) -> Iterator[Frame]:
        """Yield every picture on the grid of analysis.

        Raises:
            BadVideoError: As in `pictures`.
        """
        for picture in self.pictures():
            yield Frame(small_luma(picture.image), picture.at_us)

    def _opened(self) -> InputContainer:
        if self._container is None:
            raise RuntimeError("this video has not been opened")
        return self._container

    def _stream(self) -> VideoStream:
        return self._opened().streams.video[0]

    def _decoded(self) -> Iterator[VideoFrame]:
        container, stream = self._opened(), self._stream()
        stream.thread_type = "AUTO"
        try:
            for packet in container.demux(stream):
                yield from _decode(packet)
        except (av.error.FFmpegError, OSError) as error:
            raise _bad(self._path, error) from error

    def _check_length(self, last_us: int) -> None:
        if last_us < 0:
            raise BadVideoError(self._path, "not one picture in it can be decoded")
        stream = self._stream()
        if stream.duration is None or stream.time_base is None:
            return
        promised_s = float(stream.duration * stream.time_base)
        if last_us / 1e6 + 1 / self.fps < promised_s - _MAY_BE_SHORT_S:
            why = f"it is cut off after {last_us / 1e6:.1f} s of {promised_s:.1f} s"
            raise BadVideoError(self._path, why)


def _decode(packet: "av.Packet[VideoStream]") -> list[VideoFrame]:
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


def _bad(path: Path, error: Exception) -> BadVideoError:
    """Return the reason in plain words, without the library's numbers."""
    match error:
        case FileNotFoundError() | NotADirectoryError():
            why, do = "there is no such file", "look at its name and its folder"
        case IsADirectoryError():
            why, do = "it is a folder", "name a file in it"
        case PermissionError():
            why, do = "reading it is not permitted", f"chmod u+r {path}        (if it is yours)"
        case _ if _is_empty(path):
            why, do = "it is empty", "copy or record it again"
        case _ if _is_playlist(path):
            why, do = "it is a list of other files", "name one of the files in it"
        case _:
            return BadVideoError(path, "its content is not a video that can be read")
    return BadVideoError(path, why, safe="Nothing was read, and nothing written.", do=do)


def _is_empty(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:
        return False


def _is_playlist(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            begin = file.read(1024)
    except OSError:
        return False
    return any(mark in begin for mark in _PLAYLISTS)


def _refuse_address(path: Path) -> None:
    """Refuse an address, unless a file has that very name.

    Raises:
        AddressForFileError: It is one.
    """
    if is_address(str(path)) and not os.path.lexists(path):
        raise AddressForFileError(
            "this takes a video file, not an address",
            safe="Nothing was read, and nothing written.",
            do="name a file; a camera is tried with: doorstep-sim doorbell FOLDER --source ADDRESS",
        )


def _refuse_what_never_ends(path: Path) -> None:
    """Refuse what a reader would wait at for ever.

    Raises:
        BadVideoError: It is a pipe, a socket or a device.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # opening it says why
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        why, do = "it is a pipe or a device and no file", "name a file"
        raise BadVideoError(path, why, safe="Nothing was read, and nothing written.", do=do)


class _FilePictures:
    """A file with its first picture held before it and its last one after it."""

    def __init__(self, path: Path, hold_first_s: float, hold_last_s: float) -> None:
        self._file = VideoFile(path)
        self._hold_first_us = round(hold_first_s * 1e6)
        self._hold_last_us = round(hold_last_s * 1e6)
        self._step_us = 0

    def open(self) -> VideoFormat:
        self._file.__enter__()
        fps = min(self._file.fps, _MAX_FPS)
        self._step_us = round(1_000_000 / fps)
        width, height = fit_within_720p(self._file.width_px, self._file.height_px)
        return VideoFormat(width, height, fps)

    def pictures(self) -> Iterator[Picture]:
        last: Picture | None = None
        for picture in self._thinned():
            if last is None:
                yield from self._held(picture, 0, self._hold_first_us)
            last = Picture(picture.image, self._hold_first_us + picture.at_us)
            yield last
        if last is not None:
            begin_us = last.at_us + self._step_us
            yield from self._held(last, begin_us, begin_us + self._hold_last_us)

    def close(self) -> None:
        self._file.__exit__(None, None, None)

    def _thinned(self) -> Iterator[Picture]:
        """Yield at most `_MAX_FPS` on average; a quarter of a step is jitter."""
        due_us, jitter_us = 0, self._step_us // 4
        for picture in self._file.pictures():
            if picture.at_us >= due_us - jitter_us:
                due_us = max(due_us, picture.at_us) + self._step_us
                yield picture

    def _held(self, picture: Picture, begin_us: int, end_us: int) -> Iterator[Picture]:
        for at_us in range(begin_us, end_us, self._step_us):
            yield Picture(picture.image, at_us)


class VideoCamera(PacedCamera):
    """A video file in place of a camera; its end is the end of both streams."""

    def __init__(
        self, path: Path, clock: Clock, *, hold_first_s: float = 0.0, hold_last_s: float = 0.0
    ) -> None:
        """Name the file; nothing is opened yet.

        Args:
            path: A video file on this computer.
            clock: Paces it.
            hold_first_s: Show the first picture for so long before.
            hold_last_s: Show the last picture for so long after.
        """
        super().__init__(_FilePictures(path, hold_first_s, hold_last_s), clock)
