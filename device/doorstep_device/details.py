"""A clip's details: what was seen where and when, sealed like the clip itself."""

import json
from typing import Final

from doorstep_device.rules.motion import Motion

_DECIMALS: Final = 3


class Details:
    """Gathers one clip's details; times are milliseconds from its first frame.

    As JSON: ``{v: 1, fragments: [[offset, time_ms]…], boxes: [[t_ms, x, y, w, h]…],
    scores: [[t_ms, score]…]}``. An offset is a fragment's first byte in the opened clip; a
    box is in pixels of the 320 x 180 grid.
    """

    def __init__(self, zero_us: int) -> None:
        """Begin with a clip whose first frame was taken at ``zero_us``."""
        self._zero_us: Final = zero_us
        self._fragments: list[tuple[int, int]] = []
        self._boxes: list[tuple[int, int, int, int, int]] = []
        self._scores: list[tuple[int, float]] = []

    def add_fragment(self, offset: int, began_us: int) -> None:
        """Note where the fragment of that time begins."""
        self._fragments.append((offset, self._ms(began_us)))

    def add_motion(self, motion: Motion, at_us: int) -> None:
        """Note what the motion rule said; what lies before the clip is passed over."""
        if (at_ms := self._ms(at_us)) < 0:
            return
        self._scores.append((at_ms, round(motion.score, _DECIMALS)))
        if motion.is_moving and (box := motion.box) is not None:
            self._boxes.append((at_ms, box.x, box.y, box.w, box.h))

    def encode(self) -> bytes:
        """Return the details as JSON."""
        body = {
            "v": 1,
            "fragments": self._fragments,
            "boxes": self._boxes,
            "scores": self._scores,
        }
        return json.dumps(body, separators=(",", ":")).encode()

    def _ms(self, at_us: int) -> int:
        return (at_us - self._zero_us) // 1000
