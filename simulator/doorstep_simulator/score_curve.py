"""The score curve: how much moved when, as shapes for a chart."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

WIDTH: Final = 1000.0
HEIGHT: Final = 100.0
# More points than this cannot be told apart on a screen; a bin shows its highest.
_MOST_POINTS: Final = 500
_HEADROOM: Final = 1.12
_TICKS_ABOUT: Final = 8
_TICK_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True)
class ScorePoint:
    """The motion rule's word on one frame.

    Attributes:
        t_s: Time of the frame in the video, rising.
        score: The rule's score, 0 or more.
        is_moving: What the rule decided.
    """

    t_s: float
    score: float
    is_moving: bool


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the chart, in hundredths of its width.

    Attributes:
        left: Where it begins, 0 to 100.
        width: How wide it is, 0 to 100.
    """

    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A time on the axis.

    Attributes:
        left: Where, 0 to 100.
        label: Seconds, as text.
    """

    left: float
    label: str


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """Shapes in a box of 1000 by 100, y downwards.

    Attributes:
        line: SVG path of the curve.
        area: SVG path of what is under it.
        moving: Where the rule said that something moves.
        ticks: The time axis.
        threshold_y: Height of the rule's threshold; None without one.
        from_s: Time at the left edge.
        to_s: Time at the right edge.
    """

    line: str
    area: str
    moving: tuple[Span, ...]
    ticks: tuple[Tick, ...]
    threshold_y: float | None
    from_s: float
    to_s: float

    def across(self, at_s: float) -> float:
        """Return where a time is, 0 to 100; times outside are moved to the edge."""
        share = (at_s - self.from_s) / (self.to_s - self.from_s)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def span(self, from_s: float, to_s: float) -> Span:
        """Return the stretch between two times."""
        left = self.across(from_s)
        return Span(left, round(self.across(to_s) - left, 3))


def draw_curve(
    points: Sequence[ScorePoint],
    *,
    from_s: float,
    to_s: float,
    threshold: float | None = None,
) -> ScoreCurve | None:
    """Return the curve between two times; None if no point is there.

    Args:
        points: Scores in the order of time.
        from_s: Time at the left edge.
        to_s: Time at the right edge, later.
        threshold: Score from which the rule sees motion.
    """
    shown = [point for point in points if from_s <= point.t_s <= to_s]
    if not shown:
        return None
    highest = max([threshold or 0.0, *(point.score for point in shown)]) * _HEADROOM or 1.0
    frame = ScoreCurve("", "", (), _ticks(from_s, to_s), None, from_s, to_s)
    line = _path((frame.across(p.t_s), 1 - p.score / highest) for p in _thinned(shown))
    first, last = frame.across(shown[0].t_s), frame.across(shown[-1].t_s)
    return ScoreCurve(
        line=line,
        area=f"{line}L{last * WIDTH / 100:.1f},{HEIGHT:g}L{first * WIDTH / 100:.1f},{HEIGHT:g}Z",
        moving=tuple(_moving(frame, shown)),
        ticks=frame.ticks,
        threshold_y=None if threshold is None else round(HEIGHT * (1 - threshold / highest), 2),
        from_s=from_s,
        to_s=to_s,
    )


def _path(places: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x * WIDTH / 100:.1f},{y * HEIGHT:.2f}" for x, y in places)


def _thinned(points: Sequence[ScorePoint]) -> list[ScorePoint]:
    """Return at most `_MOST_POINTS`, the highest of each bin."""
    size = math.ceil(len(points) / _MOST_POINTS)
    bins = (points[start : start + size] for start in range(0, len(points), size))
    return [max(bin_, key=lambda point: point.score) for bin_ in bins]


def _moving(frame: ScoreCurve, points: Sequence[ScorePoint]) -> Iterable[Span]:
    step_s = (points[-1].t_s - points[0].t_s) / max(1, len(points) - 1)
    for is_moving, run in groupby(points, key=lambda point: point.is_moving):
        if is_moving:
            frames = list(run)
            yield frame.span(frames[0].t_s, frames[-1].t_s + step_s)


def _ticks(from_s: float, to_s: float) -> tuple[Tick, ...]:
    room_s = (to_s - from_s) / _TICKS_ABOUT
    step_s = next((step for step in _TICK_STEPS_S if step >= room_s), _TICK_STEPS_S[-1])
    numbers = range(math.ceil(from_s / step_s), math.floor(to_s / step_s) + 1)
    return tuple(
        Tick(round(100 * (number * step_s - from_s) / (to_s - from_s), 3), f"{number * step_s} s")
        for number in numbers
    )
