"""The visitor: one figure, drawn from looks and pose."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from doorstep_simulator.backdrop import Light
from doorstep_simulator.canvas import Canvas, Colour
from doorstep_simulator.ground import seen_at, units_per_m
from doorstep_simulator.visits import Looks, Pose

# Proportions of an adult, as shares of the height.
_CROWN: Final = 0.93
_CHIN: Final = 0.875
_SHOULDER: Final = 0.81
_HIP: Final = 0.5
_COAT_HEM: Final = 0.43
_HEAD_WIDE: Final = 0.057
_HEAD_TALL: Final = 0.07
_SHOULDERS_WIDE: Final = 0.128
_SHOULDERS_DEEP: Final = 0.082
_HIPS_APART: Final = 0.05
_STEP: Final = 0.14
_LIFT: Final = 0.045
_BOB: Final = 0.008
# Turned away further than this, only hair is seen of a head.
_FROM_BEHIND: Final = -0.5


@dataclass(frozen=True, slots=True)
class _Body:
    """A pose as a painter needs it: shares of the height, seen from the door.

    Attributes:
        canvas: Where it is drawn.
        foot: Where the feet stand, in design units.
        tall: Design units from sole to crown.
        ahead: Where the figure faces: -1 left, 1 right, 0 at us or away.
        facing: 1 at us, -1 away.
        bob: How far the body is lifted by the step.
    """

    canvas: Canvas
    foot: tuple[float, float]
    tall: float
    ahead: float
    facing: float
    bob: float

    def at(self, right: float, up: float) -> tuple[float, float]:
        return self.foot[0] + right * self.tall, self.foot[1] - up * self.tall

    def limb(self, joints: list[tuple[float, float]], colour: Colour, width: float) -> None:
        self.canvas.stroke([self.at(*joint) for joint in joints], colour, width=width * self.tall)

    def blob(self, outline: list[tuple[float, float]], colour: Colour) -> None:
        self.canvas.polygon([self.at(*corner) for corner in outline], colour)

    def oval(self, middle: tuple[float, float], radii: tuple[float, float], colour: Colour) -> None:
        wide, high = radii
        self.canvas.ellipse(self.at(*middle), (wide * self.tall, high * self.tall), colour)

    @property
    def half_wide(self) -> float:
        return math.hypot(_SHOULDERS_WIDE * self.facing, _SHOULDERS_DEEP * self.ahead)


def draw_visitor(canvas: Canvas, looks: Looks, pose: Pose, light: Light) -> None:
    """Draw the figure, without its shadow."""
    away_m = pose.place.z_m
    colours = replace(
        looks,
        coat=light.on(looks.coat, away_m),
        trousers=light.on(looks.trousers, away_m),
        skin=light.on(looks.skin, away_m),
        hair=light.on(looks.hair, away_m),
        bag=looks.bag and light.on(looks.bag, away_m),
    )
    body = _Body(
        canvas=canvas,
        foot=seen_at(pose.place),
        tall=looks.height_m * units_per_m(away_m),
        ahead=math.sin(pose.heading_rad),
        facing=math.cos(pose.heading_rad),
        bob=_BOB * pose.gait * math.cos(2 * pose.stride_rad),
    )
    far, near = (-1, 1) if body.ahead >= 0 else (1, -1)
    _leg(body, colours, pose, far)
    _leg(body, colours, pose, near)
    _arm(body, colours, pose, far)
    if body.facing >= 0:
        _bag(body, colours)
    _coat(body, colours)
    if body.facing < 0:
        _bag(body, colours)
    _head(body, colours)
    _arm(body, colours, pose, near)


def _leg(body: _Body, looks: Looks, pose: Pose, side: int) -> None:
    swing = math.sin(pose.stride_rad + (math.pi if side > 0 else 0)) * pose.gait
    lift = max(0.0, math.cos(pose.stride_rad + (math.pi if side > 0 else 0))) * pose.gait
    # A figure that looks at us has its left hand on our right.
    apart = -side * _HIPS_APART * body.facing
    hip = (apart, _HIP + body.bob)
    foot = (apart * 1.1 + swing * _STEP * body.ahead, 0.03 + lift * _LIFT)
    bend = 0.03 * pose.gait + lift * 0.06
    knee = (
        (hip[0] + foot[0]) / 2 + bend * body.ahead,
        0.265 + lift * _LIFT * 0.7 + body.bob,
    )
    cloth = looks.trousers.lit(0.8 if side * (body.ahead or -1) < 0 else 1.0)
    body.limb([hip, knee, foot], cloth, 0.072)
    shoe = looks.trousers.lit(0.45)
    toe = (foot[0] + 0.05 * body.ahead, foot[1] - 0.012 - 0.012 * max(0.0, body.facing))
    body.limb([(foot[0], foot[1] - 0.008), toe], shoe, 0.055)


def _arm(body: _Body, looks: Looks, pose: Pose, side: int) -> None:
    swing = -math.sin(pose.stride_rad + (math.pi if side > 0 else 0)) * pose.gait
    out = -side * body.half_wide * 0.92 * body.facing
    shoulder = (out, _SHOULDER - 0.03 + body.bob)
    hand = (out * 1.15 + swing * 0.12 * body.ahead, 0.47 + abs(swing) * 0.02 + body.bob)
    elbow = ((shoulder[0] + hand[0]) / 2 - 0.015 * body.ahead + out * 0.1, 0.63 + body.bob)
    if side > 0:
        # The right hand, on our left, goes up to the bell beside the camera.
        hand = _between(hand, (out * 1.25, 0.86), pose.reach)
        elbow = _between(elbow, (out * 1.5, 0.68), pose.reach)
    cloth = looks.coat.lit(0.78 if side * (body.ahead or -1) < 0 else 0.9)
    body.oval(hand, (0.025, 0.028), looks.skin)
    body.limb([shoulder, elbow, _between(hand, elbow, 0.16)], cloth, 0.058)


def _coat(body: _Body, looks: Looks) -> None:
    wide, up = body.half_wide, body.bob
    outline = _smooth(
        [
            (-0.36 * wide, _SHOULDER + 0.028 + up),
            (-0.86 * wide, _SHOULDER + 0.005 + up),
            (-1.0 * wide, _SHOULDER - 0.06 + up),
            (-0.84 * wide, 0.62 + up),
            (-0.92 * wide, _COAT_HEM + up),
            (0.92 * wide, _COAT_HEM + up),
            (0.84 * wide, 0.62 + up),
            (1.0 * wide, _SHOULDER - 0.06 + up),
            (0.86 * wide, _SHOULDER + 0.005 + up),
            (0.36 * wide, _SHOULDER + 0.028 + up),
        ]
    )
    body.blob(outline, looks.coat)
    shaded = [(max(right, 0.28 * wide), high) for right, high in outline]
    body.blob(shaded, looks.coat.lit(0.88))
    if body.facing > 0:
        middle = 0.25 * wide * body.ahead
        body.limb([(middle, _SHOULDER), (middle, _COAT_HEM + 0.01)], looks.coat.lit(0.7), 0.006)


def _bag(body: _Body, looks: Looks) -> None:
    if looks.bag is None:
        return
    behind, up = -0.1 * body.ahead, body.bob
    wide = 0.075 + 0.03 * abs(body.facing)
    outline = [
        (behind - wide, 0.55 + up),
        (behind - wide * 1.02, 0.74 + up),
        (behind - wide * 0.6, 0.8 + up),
        (behind + wide * 0.6, 0.8 + up),
        (behind + wide * 1.02, 0.74 + up),
        (behind + wide, 0.55 + up),
    ]
    body.blob(_smooth(outline), looks.bag)
    pocket = [(right * 0.7 + behind * 0.3, 0.55 + (high - 0.55) * 0.45) for right, high in outline]
    body.blob(_smooth(pocket), looks.bag.lit(0.82))


def _head(body: _Body, looks: Looks) -> None:
    lean, up = 0.018 * body.ahead, body.bob
    middle = (lean, _CROWN + up)
    body.limb(
        [(0.7 * lean, _SHOULDER + 0.035 + up), (lean, _CHIN + up)], looks.skin.lit(0.82), 0.048
    )
    body.oval((lean, _SHOULDER + 0.022 + up), (0.05, 0.02), looks.coat.lit(0.75))
    back = (middle[0] - 0.012 * body.ahead, middle[1] + 0.008)
    body.oval(back, (_HEAD_WIDE * 1.08, _HEAD_TALL * 1.02), looks.hair)
    if body.facing > _FROM_BEHIND:
        _face(body, looks, middle)
    if looks.has_cap and body.facing > _FROM_BEHIND:
        peak = (middle[0] + 0.045 * body.ahead, middle[1] + 0.024)
        width = 0.03 + 0.026 * max(0.0, body.facing)
        body.oval(peak, (width, 0.011), looks.hair.lit(0.75))


def _face(body: _Body, looks: Looks, middle: tuple[float, float]) -> None:
    right, up = middle
    face = (right + 0.016 * body.ahead, up - 0.012)
    body.oval(face, (_HEAD_WIDE * 0.86, _HEAD_TALL * 0.84), looks.skin)
    fringe = [
        (right + _HEAD_WIDE * math.cos(turn), up + 0.006 + _HEAD_TALL * math.sin(turn))
        for turn in np.linspace(math.radians(22), math.radians(158), 12)
    ]
    body.blob(fringe, looks.hair)


def _between(a: tuple[float, float], b: tuple[float, float], share: float) -> tuple[float, float]:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def _smooth(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the outline with its corners cut twice (Chaikin, 1974)."""
    for _ in range(2):
        pairs = list(zip(corners, corners[1:] + corners[:1], strict=True))
        corners = [_between(a, b, share) for a, b in pairs for share in (0.25, 0.75)]
    return corners
