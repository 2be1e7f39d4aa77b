"""The thumbnail: the one picture that shows best who was there."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from doorstep_device.ports.camera import Packet
from doorstep_shared.manifest import MAX_THUMB_BYTES

# Decoding a picture costs about 10 ms on a laptop, so only the most promising are looked at.
_CANDIDATES: Final = 3
# A night full of noise needs more than the first of each.
_WIDTHS_PX: Final = (1280, 640, 320)
_JPEG_QUALITIES: Final = (85, 70, 50)
# Sealed, a thumbnail of the largest size has a nonce of 16 bytes and five tags of 16.
_MAX_JPEG_BYTES: Final = MAX_THUMB_BYTES - 6 * 16


class Candidates:
    """The key frames with the most motion, at most three."""

    def __init__(self) -> None:
        self._best: list[tuple[float, Packet]] = []

    def offer(self, key_frame: Packet, score: float) -> None:
        """Take a key frame and how much moved around it; of equals, the first stays."""
        self._best.append((score, key_frame))
        self._best.sort(key=lambda entry: (-entry[0], entry[1].at_us))
        del self._best[_CANDIDATES:]

    @property
    def key_frames(self) -> tuple[Packet, ...]:
        """The candidates, the most promising first."""
        return tuple(packet for _, packet in self._best)


def draw_thumbnail(key_frames: Sequence[Packet]) -> bytes | None:
    """Return the sharpest of ``key_frames`` as a JPEG; None if none can be decoded.

    Of equally sharp ones, the first is taken.
    """
    pictures = list(_decode(key_frames))
    if not pictures:
        return None
    sharpest = max(pictures, key=_sharpness)
    return _encode(sharpest)


def _decode(key_frames: Sequence[Packet]) -> Iterator[NDArray[np.uint8]]:
    for packet in key_frames:
        decoder = av.CodecContext.create("h264", "r")
        # One picture: threads would only wait for a second one.
        decoder.thread_count = 1
        try:
            frames = [*decoder.decode(av.Packet(packet.data)), *decoder.decode(None)]
        except av.error.FFmpegError:
            continue
        for frame in frames[:1]:
            yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)


def _sharpness(picture: NDArray[np.uint8]) -> float:
    # Variance of the Laplacian: Pech-Pacheco et al., "Diatom autofocusing in brightfield
    # microscopy: a comparative study" (2000).
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def _encode(picture: NDArray[np.uint8]) -> bytes | None:
    """Return the best JPEG of ``picture`` that is small enough to be a thumbnail."""
    for most_px, quality in itertools.product(_WIDTHS_PX, _JPEG_QUALITIES):
        height, width = picture.shape[:2]
        if width > most_px:
            size = (most_px, height * most_px // width)
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if jpeg.size <= _MAX_JPEG_BYTES:
            return jpeg.tobytes()
    return None
