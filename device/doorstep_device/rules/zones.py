"""Zones: the part of the picture that counts, as a polygon."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_MIN_CORNERS: Final = 3
# A millionth of the picture: what rounding leaves of a line.
_LEAST_AREA: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon on the picture.

    Attributes:
        corners: (x, y) in shares of width and height, 0 to 1, from the upper left;
            three or more.
    """

    corners: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        """Refuse a polygon that does not lie on the picture.

        Raises:
            ValueError: Too few corners, one outside 0 to 1, or all on one line.
        """
        if len(self.corners) < _MIN_CORNERS:
            message = f"a zone needs {_MIN_CORNERS} corners or more, not {len(self.corners)}"
            raise ValueError(message)
        for corner in self.corners:
            if not all(0 <= share <= 1 for share in corner):
                message = f"a zone's corner {corner} is outside the picture (0 to 1)"
                raise ValueError(message)
        hull = cv2.convexHull(np.array(self.corners, np.float32))
        if cv2.contourArea(hull) < _LEAST_AREA:
            message = "a zone's corners lie on one line, so nothing is inside"
            raise ValueError(message)

    def __str__(self) -> str:
        """Return the corners as `parse_zone` reads them."""
        return " ".join(f"{x:.12g},{y:.12g}" for x, y in self.corners)

    def mask(self, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Return (height, width) uint8: 1 inside and on the edge, else 0."""
        scale = np.array([width_px - 1, height_px - 1])
        corners = np.rint(np.array(self.corners) * scale).astype(np.int32)
        mask = np.zeros((height_px, width_px), np.uint8)
        polygon: Sequence[NDArray[np.int32]] = [corners]
        cv2.fillPoly(mask, polygon, (1,))
        return mask


def parse_zone(text: str) -> Zone:
    """Return the zone with the corners in ``text``, such as ``0.1,0.2 0.9,0.2 0.9,1 0.1,1``.

    Raises:
        ValueError: It is not written like that, or is no zone; a sentence that says which.
    """
    return Zone(tuple(_parse_corner(corner) for corner in text.split()))


def _parse_corner(text: str) -> tuple[float, float]:
    x, _, y = text.partition(",")
    try:
        return float(x), float(y)
    except ValueError:
        message = f"a zone's corner is written x,y like 0.1,0.95, not {text!r}"
        raise ValueError(message) from None


EVERYWHERE: Final = Zone(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
