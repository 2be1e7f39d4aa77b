"""A film strip: a clip at a glance, as one picture."""

import io
from collections.abc import Iterator
from typing import Final

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from doorstep_shared.errors import BadMessageError

_GAP_PX: Final = 6
_GAP: Final = (34, 28, 24)
_JPEG_QUALITY: Final = 84
# Letters drawn this much larger and scaled down are smoother than OpenCV's small ones.
_FINER: Final = 4


class NoPictureError(BadMessageError):
    """The bytes hold no picture that can be decoded."""


def film_strip(
    video: bytes, frames: int = 6, height_px: int = 180, *, zero_s: float = 0.0
) -> bytes:
    """Return pictures of a clip, evenly spread and stamped with their times, as a JPEG.

    Args:
        video: An MP4; a truncated one is shown as far as it goes.
        frames: How many pictures, 1 or more; fewer if the clip has fewer.
        height_px: Height of the strip.
        zero_s: What the stamps count from, in seconds from the clip's first picture:
            with the pre-roll's length, the pictures before the press are negative.

    Raises:
        NoPictureError: There is nothing to show.
    """
    tiles = [
        _tile(image, _stamp(at_s - zero_s, is_signed=zero_s > 0), height_px)
        for at_s, image in _chosen(video, frames)
    ]
    if not tiles:
        raise NoPictureError("the video holds no picture that can be decoded")
    gap = np.full((height_px, _GAP_PX, 3), _GAP, np.uint8)
    strip = np.hstack([part for tile in tiles for part in (gap, tile)][1:])
    is_made, jpeg = cv2.imencode(".jpg", strip, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not is_made:
        raise RuntimeError("OpenCV did not write a JPEG")
    return jpeg.tobytes()


def _chosen(video: bytes, count: int) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield evenly spread pictures with their times since the first."""
    times = sorted(_times(video))
    if not times:
        return
    wanted = np.unique(np.linspace(0, len(times) - 1, count).round().astype(int))
    targets = [times[index] for index in wanted]
    newest: VideoFrame | None = None
    for frame in _frames(video):
        newest = frame
        if targets and _time_s(frame) >= targets[0]:
            yield _time_s(frame) - times[0], _bgr(frame)
            targets.pop(0)
            newest = None
    if targets and newest is not None:  # as far as a truncated clip goes
        yield _time_s(newest) - times[0], _bgr(newest)


def _time_s(frame: VideoFrame) -> float:
    return frame.time or 0.0


def _bgr(frame: VideoFrame) -> NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


class _Stream:
    """Bytes that can only be read onwards."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._data.read(size)


def _open(video: bytes) -> InputContainer:
    """Open a clip, whole or truncated.

    FFmpeg reads every fragment's header at once where it can seek, and refuses a file
    that was cut inside the last one; onwards it takes one after the other.
    """
    try:
        return av.open(io.BytesIO(video), "r")
    except av.error.FFmpegError:
        return av.open(_Stream(video), "r", format="mp4")


def _times(video: bytes) -> list[float]:
    """Return the time of each picture, without decoding any."""
    times: list[float] = []
    try:
        with _open(video) as clip:
            packets = (packet for packet in clip.demux(video=0) if packet.pts is not None)
            times.extend(float((packet.pts or 0) * packet.time_base) for packet in packets)
    except (av.error.FFmpegError, IndexError):
        return times
    return times


def _frames(video: bytes) -> Iterator[VideoFrame]:
    """Yield what can be decoded, up to the first damage."""
    try:
        with _open(video) as clip:
            yield from clip.decode(video=0)
    except (av.error.FFmpegError, IndexError):
        return


def _stamp(at_s: float, *, is_signed: bool) -> str:
    return f"{at_s:+.1f} s" if is_signed else f"{at_s:.1f} s"


def _tile(image: NDArray[np.uint8], stamp: str, height_px: int) -> NDArray[np.uint8]:
    width_px = max(1, round(image.shape[1] * height_px / image.shape[0]))
    tile = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    letters = _letters(stamp, height_px)
    rows, columns = letters.shape
    if rows < height_px and columns < width_px:
        corner = tile[height_px - rows :, :columns]
        corner[:] = np.maximum(corner * 0.25, letters[:, :, np.newaxis]).astype(np.uint8)
    return np.asarray(tile, np.uint8)


def _letters(text: str, height_px: int) -> NDArray[np.uint8]:
    """Return white letters on black, (h, w), about a tenth of the strip's height."""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.36, height_px / 320) * _FINER
    (width, height), below = cv2.getTextSize(text, font, scale, _FINER)
    margin = height // 2
    drawn = np.zeros((height + below + margin, width + 2 * margin), np.uint8)
    cv2.putText(
        drawn, text, (margin, height + margin // 2), font, scale, 255, _FINER + 1, cv2.LINE_AA
    )
    small = (drawn.shape[1] // _FINER, drawn.shape[0] // _FINER)
    return np.asarray(cv2.resize(drawn, small, interpolation=cv2.INTER_AREA), np.uint8)
