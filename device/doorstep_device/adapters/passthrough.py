"""What a camera has coded, kept as it is: whether it may be, and how."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from doorstep_device.adapters.annex_b import Unit, parameter_sets, unit_types
from doorstep_device.ports.camera import CameraChangedError

# A clip begins with a key frame, so this is the most by which one begins too early. Cameras
# are set to one or two seconds, and are a picture late now and then.
MAX_GOP_US: Final = 2_200_000
# Nothing that plays in a browser has other pixels.
_PIXELS: Final = frozenset({"yuv420p", "yuvj420p"})


@dataclass(frozen=True, slots=True)
class Coded:
    """One access unit, as it came.

    Attributes:
        data: Its bytes.
        is_key: Whether the camera calls it a key frame.
        stamp_us: The camera's own time.
    """

    data: bytes
    is_key: bool
    stamp_us: int

    @property
    def begins_stream(self) -> bool:
        """Whether decoding can begin here: an IDR picture, and not one to recover from."""
        return self.is_key and Unit.IDR in unit_types(self.data)


def why_not_kept(
    codec: str, pixels: str | None, headers: bytes, units: Sequence[Coded]
) -> str | None:
    """Return why these first units of a stream have to be encoded anew; None if they may stay.

    Args:
        codec: By the library's name.
        pixels: Their format, by the library's name.
        headers: SPS and PPS, told beside the stream; empty when they are within it.
        units: Two GOPs, or as much as came in their place.
    """
    if codec != "h264":
        return f"it is {codec} and not H.264"
    if pixels not in _PIXELS:
        return f"its pictures are {pixels}"
    if any(b.stamp_us <= a.stamp_us for a, b in pairwise(units)):
        return "its pictures do not come in the order in which they are shown"
    keys = [unit for unit in units if unit.begins_stream]
    if len(keys) < 2 or keys[1].stamp_us - keys[0].stamp_us > MAX_GOP_US:  # noqa: PLR2004  # the first one and the next
        return "its key frames are more than two seconds apart"
    if not (parameter_sets(headers) or parameter_sets(keys[0].data)):
        return "it does not say how its pictures are coded"
    return None


class Passthrough:
    """Keeps a stream as the camera coded it, until that is another stream."""

    def __init__(self, headers: bytes) -> None:
        """Begin a stream.

        Args:
            headers: SPS and PPS, told beside the stream; empty when they are within it.
        """
        self._headers = parameter_sets(headers)
        self._key_us: int | None = None
        self._stamp_us: int | None = None

    def keep(self, unit: Coded) -> tuple[bytes, bool] | None:
        """Return the unit with SPS and PPS before a key frame, and whether it is one.

        None before the first key frame.

        Raises:
            CameraChangedError: It belongs to another stream, or breaks its promises.
        """
        is_key = unit.begins_stream
        if is_key:
            data = self._with_headers(unit.data)
            self._key_us = unit.stamp_us
        elif self._key_us is None:
            return None
        else:
            data = unit.data
            self._check_order(unit, self._key_us)
        self._stamp_us = unit.stamp_us
        return data, is_key

    def _with_headers(self, data: bytes) -> bytes:
        own = parameter_sets(data)
        if own and self._key_us is not None and own != self._headers:
            raise _changed("the camera codes its pictures in another way now")
        self._headers = own or self._headers
        return data if own else self._headers + data

    def _check_order(self, unit: Coded, key_us: int) -> None:
        if unit.stamp_us - key_us > 2 * MAX_GOP_US:
            raise _changed("the camera's key frames come too seldom now")
        if self._stamp_us is not None and unit.stamp_us <= self._stamp_us:
            raise _changed("the camera's times stepped back")


def _changed(fact: str) -> CameraChangedError:
    return CameraChangedError(fact, safe="What was recorded before is kept.")
