"""Frames in, motion that begins and ends out."""

from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from doorstep_device.ports.camera import Frame
from doorstep_device.rules.motion import NO_MOTION, Box, Motion, MotionRule
from doorstep_device.watcher import Watcher

MOVES = Motion(is_moving=True, score=0.5, box=Box(1, 2, 3, 4))


class Script:
    """Decides what it was told to, frame by frame, in the place of a `MotionRule`."""

    def __init__(self, moving: list[bool]) -> None:
        self.moving = moving

    def start(self) -> int:
        return 0

    def feed(self, state: int, luma: NDArray[np.uint8], at_us: int) -> tuple[int, Motion]:
        assert at_us == int(luma[0, 0])
        return state + 1, MOVES if self.moving[state] else NO_MOTION


@given(moving=st.lists(st.booleans(), max_size=30))
def test_motion_begins_and_ends_in_turn_and_with_the_very_frame(moving: list[bool]) -> None:
    watcher = Watcher(cast("MotionRule", Script(moving)))
    seen = [
        watcher.look(Frame(np.full((180, 320), number, np.uint8), number))
        for number in range(len(moving))
    ]
    assert [one.motion.is_moving for one in seen] == moving
    before = [False, *moving]
    for one, was, now in zip(seen, before, moving, strict=False):
        assert one.began == (now and not was)
        assert one.ended == (was and not now)
