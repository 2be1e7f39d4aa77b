"""Pictures to H.264 as the camera port wants it."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from doorstep_device.ports.camera import KEY_FRAME_EVERY_US, Packet, VideoFormat

MAX_WIDTH_PX: Final = 1280
MAX_HEIGHT_PX: Final = 720

_US: Final = Fraction(1, 1_000_000)
# Constant quality, as a doorstep is mostly still, under a ceiling so that rain or noise
# cannot fill the card: 4 Mbit/s is twice what 720p at 15 pictures a second needs.
_CRF: Final = "24"
_MAX_BITS_PER_S: Final = 4_000_000


def fit_within_720p(width_px: int, height_px: int) -> tuple[int, int]:
    """Return the even size to encode: at most 1280 x 720, aspect kept, never enlarged."""
    scale = min(1.0, MAX_WIDTH_PX / width_px, MAX_HEIGHT_PX / height_px)
    return max(2, round(width_px * scale / 2) * 2), max(2, round(height_px * scale / 2) * 2)


class H264Encoder:
    """Encodes one stream with x264: baseline, no B-frames, one picture in, one packet out.

    A key frame with SPS and PPS opens the stream and follows at least every second, to
    the nearest picture. Not thread-safe.
    """

    def __init__(self, video: VideoFormat) -> None:
        """Open the codec.

        Args:
            video: Size (even) and nominal rate of the stream.
        """
        self._video = video
        self._half_picture_us = round(500_000 / video.fps)
        self._last_key_us: int | None = None
        self._codec = VideoCodecContext.create("libx264", "w")
        self._codec.width, self._codec.height = video.width_px, video.height_px
        self._codec.pix_fmt = "yuv420p"
        self._codec.time_base = _US
        self._codec.framerate = Fraction(video.fps).limit_denominator(1001)
        self._codec.thread_count = 1
        self._codec.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "crf": _CRF,
            "maxrate": str(_MAX_BITS_PER_S),
            "bufsize": str(_MAX_BITS_PER_S),
            "forced-idr": "1",
            # Key frames come from our clock and not from a picture count, so that a
            # camera with irregular pictures keeps the second too.
            "x264-params": "keyint=infinite:scenecut=0:repeat-headers=1:annexb=1",
        }

    def encode(self, picture: VideoFrame | NDArray[np.uint8], at_us: int) -> list[Packet]:
        """Return the packets that are ready now: one.

        Args:
            picture: Of any size and pixel format, scaled if need be; an array is
                (height, width, 3) uint8 BGR. A VideoFrame's time and
                type are overwritten.
            at_us: When it was taken, later than the one before.
        """
        if not isinstance(picture, VideoFrame):
            picture = VideoFrame.from_ndarray(picture, format="bgr24")
        frame = picture.reformat(self._video.width_px, self._video.height_px, "yuv420p")
        frame.pts, frame.time_base = at_us, _US
        frame.pict_type = PictureType.I if self._is_key_due(at_us) else PictureType.NONE
        return _packets(self._codec.encode(frame))

    def close(self) -> list[Packet]:
        """End the stream; return what was still held back (nothing, with zero latency)."""
        return _packets(self._codec.encode(None))

    def _is_key_due(self, at_us: int) -> bool:
        last_us = self._last_key_us
        if last_us is not None and at_us - last_us < KEY_FRAME_EVERY_US - self._half_picture_us:
            return False
        self._last_key_us = at_us
        return True


def _packets(encoded: "Iterable[av.Packet[VideoStream]]") -> list[Packet]:
    return [
        Packet(bytes(packet), packet.is_keyframe, packet.pts)
        for packet in encoded
        if packet.pts is not None
    ]
