"""Visits: who comes to the door when, and how they stand at any moment."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from doorstep_simulator.canvas import Colour, ink
from doorstep_simulator.ground import Place

# Before the first visit, between two, and after the last of the scripted part, nobody is
# there for at least this long: a rule can learn the empty doorstep, a clip can end.
QUIET_S: Final = (6.0, 8.0)
# After the scripted part a visitor comes now and then, as long as anybody watches.
LATER_QUIET_S: Final = (40.0, 90.0)
# A scene too short for a visit at its own pace gets a hurried one; below half the time
# nobody comes at all.
_SHORTEST_QUIET_S: Final = 2.0
_FASTEST: Final = 0.5

_PAVEMENT_M: Final = 8.6
_HIDDEN_M: Final = 5.2
_AT_BELL: Final = Place(0.0, 2.62)
_STRIDE_M: Final = 1.35
_TURN_S: Final = 0.35
_SOFT_CORNER_S: Final = 0.3
_WALKING_M_PER_S: Final = 0.15
_REACH_AFTER_S: Final = 0.8
_REACH_S: Final = 0.5

_COATS: Final = ("#b4443c", "#2f5d8a", "#d8a132", "#3f7a5a", "#6b4a7d", "#c9663d", "#48525f")
_TROUSERS: Final = ("#2d3442", "#4a4038", "#3a4a63", "#55565c")
_SKINS: Final = ("#f0c8a4", "#d9a179", "#b47a52", "#8a5a3c", "#5f3d2a")
_HAIRS: Final = ("#2a211c", "#5b3a21", "#8d6a3b", "#b9b4ac", "#151517")
_BAGS: Final = ("#7a5230", "#24506b", "#8b2f3a")


@dataclass(frozen=True, slots=True)
class Looks:
    """How a visitor is drawn.

    Attributes:
        height_m: From sole to crown.
        coat: Colour of the coat.
        trousers: Colour of the trousers.
        skin: Colour of face and hands.
        hair: Colour of the hair, or of the cap.
        bag: Colour of a backpack; None without one.
        has_cap: Whether a cap covers the hair.
    """

    height_m: float
    coat: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    bag: Colour | None
    has_cap: bool


@dataclass(frozen=True, slots=True)
class Pose:
    """A visitor at one moment.

    Attributes:
        place: Where the feet are.
        heading_rad: Where they go: 0 to the door, π/2 to the right, π away.
        stride_rad: How far through a pair of steps.
        gait: 0 standing, 1 walking.
        reach: 0 arms down, 1 a finger on the bell.
        is_moving: Whether anything of the visitor moves.
    """

    place: Place
    heading_rad: float
    stride_rad: float
    gait: float
    reach: float
    is_moving: bool


@dataclass(frozen=True, slots=True)
class Visit:
    """One visitor's way: in from the street, up the path, to the bell, and back.

    Attributes:
        start_s: When they set out, hidden behind the bushes, in scene time.
        times_s: Times of the way's corners, from `start_s`, rising.
        corners: The corners.
        looks: How they look.
    """

    start_s: float
    times_s: tuple[float, ...]
    corners: tuple[Place, ...]
    looks: Looks

    @property
    def end_s(self) -> float:
        """When they are hidden again, in scene time."""
        return self.start_s + self.times_s[-1]

    @property
    def press_s(self) -> float:
        """When their finger is on the bell, in scene time."""
        return self.start_s + self.times_s[2] + _REACH_AFTER_S + _REACH_S

    def pose(self, at_s: float) -> Pose:
        """Return the pose at a scene time between `start_s` and `end_s`."""
        since_s = at_s - self.start_s
        speed = math.dist(self._place(since_s + 0.05), self._place(since_s - 0.05)) / 0.1
        reach = self._reach(since_s)
        return Pose(
            place=self._place(since_s),
            heading_rad=self._heading(since_s),
            stride_rad=self._walked_m(since_s) * math.tau / _STRIDE_M,
            gait=min(1.0, speed),
            reach=reach,
            is_moving=speed > _WALKING_M_PER_S or 0 < reach < 1,
        )

    def _place(self, since_s: float) -> Place:
        """Return the place, corners rounded by averaging a moment of the way."""
        moment = since_s + np.linspace(-_SOFT_CORNER_S, _SOFT_CORNER_S, 7)
        xs, zs = zip(*self.corners, strict=True)
        return Place(
            float(np.interp(moment, self.times_s, xs).mean()),
            float(np.interp(moment, self.times_s, zs).mean()),
        )

    def _walked_m(self, since_s: float) -> float:
        steps = [math.dist(before, after) for before, after in pairwise(self.corners)]
        return float(np.interp(since_s, self.times_s, np.concatenate([[0.0], np.cumsum(steps)])))

    def _heading(self, since_s: float) -> float:
        came_right = self.corners[0].x_m < 0
        leaves_right = self.corners[-1].x_m > 0
        arrival = math.pi / 2 if came_right else -math.pi / 2
        departure = math.pi / 2 if leaves_right else 3 * math.pi / 2
        turns = (self.times_s[1], self.times_s[3], self.times_s[4])
        times = [turn + side for turn in turns for side in (-_TURN_S, _TURN_S)]
        ways = [arrival, 0.0, 0.0, math.pi, math.pi, departure]
        return float(np.interp(since_s, times, ways))

    def _reach(self, since_s: float) -> float:
        begin = self.times_s[2] + _REACH_AFTER_S
        times = [begin, begin + _REACH_S, begin + 2 * _REACH_S, begin + 3 * _REACH_S]
        return float(np.interp(since_s, times, [0.0, 1.0, 1.0, 0.0]))


class Visits:
    """The visits of one seed: scripted ones first, then one now and then, for ever.

    Each depends on the seed, its number and the one before it only.
    """

    def __init__(self, seed: int, duration_s: float) -> None:
        self._seed = seed
        self._duration_s = duration_s
        self._known: list[Visit] = []

    def scripted(self) -> tuple[Visit, ...]:
        """Return the visits that end within the scripted part, quiet after the last."""
        self._until(self._duration_s)
        return tuple(visit for visit in self._known if visit.end_s <= self._duration_s)

    def at(self, at_s: float) -> Visit | None:
        """Return the visit that goes on at a scene time."""
        self._until(at_s)
        for visit in reversed(self._known):
            if visit.start_s <= at_s:
                return visit if at_s < visit.end_s else None
        return None

    def _until(self, at_s: float) -> None:
        while not self._known or self._known[-1].end_s <= at_s:
            self._known.append(self._next())

    def _next(self) -> Visit:
        chance = np.random.default_rng([self._seed, len(self._known)])
        last_end_s = self._known[-1].end_s if self._known else 0.0
        visit = _visit(chance, last_end_s + chance.uniform(*QUIET_S))
        if visit.end_s + QUIET_S[0] <= self._duration_s:
            return visit
        if not self._known and (hurried := self._hurried(visit)) is not None:
            return hurried
        after_s = max(last_end_s, self._duration_s)
        return _visit(chance, after_s + chance.uniform(*LATER_QUIET_S))

    def _hurried(self, visit: Visit) -> Visit | None:
        room_s = self._duration_s - 2 * _SHORTEST_QUIET_S
        pace = room_s / visit.times_s[-1]
        if pace < _FASTEST:
            return None
        times_s = tuple(time * min(1.0, pace) for time in visit.times_s)
        return Visit(_SHORTEST_QUIET_S, times_s, visit.corners, visit.looks)


def _visit(chance: np.random.Generator, start_s: float) -> Visit:
    """Return a visit that starts then; sides, pace and patience are left to chance."""
    came_from, leaves_to = (float(side) * _HIDDEN_M for side in chance.choice([-1, 1], 2))
    at_bell = _AT_BELL._replace(x_m=chance.uniform(-0.35, 0.25))
    gate = Place(0.0, _PAVEMENT_M)
    corners = (
        Place(came_from, _PAVEMENT_M),
        gate,
        at_bell,
        at_bell,
        gate,
        Place(leaves_to, _PAVEMENT_M),
    )
    pace = chance.uniform(1.25, 1.55)
    waits_s = chance.uniform(5.0, 8.0)
    times = [0.0]
    for before, after in pairwise(corners):
        times.append(times[-1] + (math.dist(before, after) / pace or waits_s))
    return Visit(start_s, tuple(times), corners, _looks(chance))


def _looks(chance: np.random.Generator) -> Looks:
    def one_of(codes: tuple[str, ...]) -> Colour:
        return ink(codes[int(chance.integers(len(codes)))])

    return Looks(
        height_m=float(chance.uniform(1.6, 1.84)),
        coat=one_of(_COATS),
        trousers=one_of(_TROUSERS),
        skin=one_of(_SKINS),
        hair=one_of(_HAIRS),
        bag=one_of(_BAGS) if chance.random() < 0.5 else None,  # noqa: PLR2004 (one in two)
        has_cap=bool(chance.random() < 0.3),  # noqa: PLR2004 (three in ten)
    )
