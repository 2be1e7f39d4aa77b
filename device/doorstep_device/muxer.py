"""The muxer: H.264 packets into fragmented MP4, as they are.

Nothing is encoded again. A fragment is whole by itself, so a clip that is cut plays up to
its last one. ISO/IEC 14496-12 section 8.8 (movie fragments).
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.container import OutputContainer
from av.stream import Stream

from doorstep_device.ports.camera import Packet, VideoFormat

# A fragment ends with the first picture this long after its first one, and at each key
# frame, so that none is longer than half a second at ten pictures a second or more.
_FRAGMENT_US: Final = 400_000

_OPTIONS: Final = {
    # No index at the end: the free boxes between fragments would make its offsets wrong.
    "movflags": "frag_keyframe+empty_moov+default_base_moof+skip_trailer",
    "frag_duration": str(_FRAGMENT_US),
    # No name of the library, whose version is nobody's business.
    "fflags": "+bitexact",
}
_MICROSECONDS: Final = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Fragment:
    """Whole MP4 boxes.

    Attributes:
        data: A fragment; the first is led by the clip's head.
        began_us: When its first picture was taken.
        ended_us: When its last one was.
    """

    data: bytes
    began_us: int
    ended_us: int


class Muxer:
    """Makes one clip of packets that begin with a key frame."""

    def __init__(self, video: VideoFormat, first_us: int) -> None:
        """Begin a clip.

        Args:
            video: What the packets hold.
            first_us: When the first picture was taken: the clip's time zero.
        """
        self._written = _Written()
        self._container: Final[OutputContainer] = av.open(
            self._written, "w", format="mp4", options=_OPTIONS
        )
        self._stream: Final = self._container.add_mux_stream(
            "h264",
            rate=Fraction(video.fps).limit_denominator(1001),
            width=video.width_px,
            height=video.height_px,
            time_base=_MICROSECONDS,
        )
        self._zero_us: Final = first_us
        self._began_us = first_us
        self._ended_us = first_us
        self._interval_us = round(1_000_000 / video.fps)
        self._head = b""

    def add(self, packet: Packet) -> Fragment | None:
        """Take the next packet; return the fragment before it, if this packet ends one."""
        is_first = packet.at_us == self._zero_us
        if not is_first:
            self._interval_us = packet.at_us - self._ended_us
        self._container.mux_one(self._stamped(packet))
        boxes = self._written.take()
        if is_first:
            self._head, boxes = boxes, b""
        fragment = self._fragment(boxes) if boxes else None
        if fragment is not None:
            self._began_us = packet.at_us
        self._ended_us = packet.at_us
        return fragment

    def finish(self) -> Fragment:
        """Return the last fragment; nothing may be added after it."""
        self._container.close()
        return self._fragment(self._written.take())

    def _fragment(self, boxes: bytes) -> Fragment:
        head, self._head = self._head, b""
        return Fragment(head + boxes, self._began_us, self._ended_us)

    def _stamped(self, packet: Packet) -> "av.Packet[Stream]":
        stamped = av.Packet(packet.data)
        stamped.stream = self._stream
        stamped.time_base = _MICROSECONDS
        stamped.pts = stamped.dts = packet.at_us - self._zero_us
        # The next packet's time says it better, but the clip's last packet has no next.
        stamped.duration = self._interval_us
        stamped.is_keyframe = packet.is_key
        return stamped


class _Written:
    """Takes what the container writes; it cannot seek back, so every box is final."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data
