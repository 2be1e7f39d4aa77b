"""Drawing in design units, so that a picture looks the same at every size."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

DESIGN_WIDTH: Final = 1280
DESIGN_HEIGHT: Final = 720

# OpenCV takes fixed-point coordinates. Four bits behind the point are a sixteenth of a
# pixel: a slow walk glides instead of jumping from pixel to pixel.
_SHIFT: Final = 4
_STEPS: Final = 1 << _SHIFT


class Colour(NamedTuple):
    """A colour in OpenCV's order; each channel is 0 to 255."""

    blue: float
    green: float
    red: float

    def towards(self, other: "Colour", share: float) -> "Colour":
        """Return a mix of both; `share` 0 is this colour, 1 is the other."""
        return Colour(*(a + (b - a) * share for a, b in zip(self, other, strict=True)))

    def lit(self, factor: float) -> "Colour":
        """Return this colour in more light (above 1) or in shade (below 1)."""
        return Colour(*(min(255.0, channel * factor) for channel in self))


def ink(code: str) -> Colour:
    """Return the colour of a web code such as `#a0522d`."""
    red, green, blue = bytes.fromhex(code.removeprefix("#"))
    return Colour(blue, green, red)


class Canvas:
    """An image to draw on: 1280 by 720 design units from the top left, at any size.

    Attributes:
        image: (h, w, 3) uint8 BGR; drawn into.
        scale: Pixels per design unit.
    """

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.image = image
        self.scale = image.shape[1] / DESIGN_WIDTH

    def polygon(self, points: Sequence[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.image, [self._fixed(points)], self._paint(colour), cv2.LINE_AA, _SHIFT)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def stroke(
        self, points: Sequence[tuple[float, float]], colour: Colour, *, width: float
    ) -> None:
        """Draw a line with round ends through the points."""
        cv2.polylines(
            self.image,
            [self._fixed(points)],
            isClosed=False,
            color=self._paint(colour),
            thickness=max(1, round(width * self.scale)),
            lineType=cv2.LINE_AA,
            shift=_SHIFT,
        )

    def ellipse(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        *,
        turned_deg: float = 0.0,
    ) -> None:
        """Fill an ellipse."""
        (x, y), (across, down) = self._fixed([centre, radii]).tolist()
        cv2.ellipse(
            self.image,
            (x, y),
            (max(1, across), max(1, down)),
            angle=turned_deg,
            startAngle=0,
            endAngle=360,
            color=self._paint(colour),
            thickness=cv2.FILLED,
            lineType=cv2.LINE_AA,
            shift=_SHIFT,
        )

    def _fixed(self, points: Sequence[tuple[float, float]]) -> NDArray[np.int32]:
        return np.asarray(np.rint(np.asarray(points) * (self.scale * _STEPS)), np.int32)

    def _paint(self, colour: Colour) -> Colour:
        return colour


class Silhouette(Canvas):
    """A canvas that only remembers where something was painted.

    Attributes:
        image: (h, w) uint8; 255 where it was painted, less at soft edges.
    """

    def _paint(self, colour: Colour) -> Colour:
        del colour
        return Colour(255, 255, 255)
