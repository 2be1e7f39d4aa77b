"""A peer that sees nothing, or everything, would make any rule look good."""

from collections.abc import Callable

import numpy as np
import pytest

from doorstep_device.ports.camera import Frame
from tests.benchmarks.motion import SIDES, Detector, _make_clip

LOOK_US = 100_000


def street(second: float, *, visitor: bool) -> Frame:
    ramp = np.tile(np.linspace(60, 160, 320, dtype=np.uint8), (180, 1))
    luma = ramp + np.random.default_rng(round(second * 10)).integers(3, size=ramp.shape)
    if visitor:
        left = 20 + round(second * 10) % 20 * 12
        luma[60:150, left : left + 30] = 230
    return Frame(luma.astype(np.uint8), round(second * 1_000_000))


@pytest.mark.parametrize("make", SIDES.values(), ids=SIDES)
def test_every_side_sees_a_visitor_and_not_an_empty_street(make: Callable[[], Detector]) -> None:
    side = make()
    empty = [side.look(street(i / 10, visitor=False)) for i in range(40)]
    visit = [side.look(street(i / 10, visitor=True)) for i in range(40, 55)]
    # A background model may take its first pictures for motion.
    assert not any(empty[5:])
    assert sum(visit) >= 10


def test_every_side_sees_ten_looks_a_second_and_each_frame_has_the_newest() -> None:
    frames = [street(i / 30, visitor=False) for i in range(10)]
    clip = _make_clip(frames, 30.0, [])
    assert [look.at_us for look in clip.looks] == [0, LOOK_US, 2 * LOOK_US, 3 * LOOK_US]
    assert clip.shown == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
