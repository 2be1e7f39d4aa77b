"""Zones: the part of the picture that counts, as a polygon."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

_MIN_CORNERS: Final = 3


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
            ValueError: Too few corners, or one outside 0 to 1.
        """
        if len(self.corners) < _MIN_CORNERS:
            message = f"a zone needs {_MIN_CORNERS} corners or more, not {len(self.corners)}"
            raise ValueError(message)
        for corner in self.corners:
            if not all(0 <= share <= 1 for share in corner):
                message = f"a zone's corner {corner} is outside the picture (0 to 1)"
                raise ValueError(message)

    def mask(self, width_px: int, height_px: int) -> NDArray[np.uint8]:
        """Return (height, width) uint8: 1 inside and on the edge, else 0."""
        scale = np.array([width_px - 1, height_px - 1])
        corners = np.rint(np.array(self.corners) * scale).astype(np.int32)
        mask = np.zeros((height_px, width_px), np.uint8)
        polygon: Sequence[NDArray[np.int32]] = [corners]
        cv2.fillPoly(mask, polygon, (1,))
        return mask


EVERYWHERE: Final = Zone(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
