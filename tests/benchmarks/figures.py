"""What was measured: a middle, how far it spread, and how two of them compare."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """The values of several runs, in the order they were measured.

    Attributes:
        values: At least one.
        share: Which quantile stands for them all; 0.5 is the median.
    """

    values: tuple[float, ...]
    share: float = 0.5

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a figure needs a value")
        if not 0 <= self.share <= 1:
            raise ValueError("a quantile is a share from 0 to 1")

    @property
    def middle(self) -> float:
        """The value that stands for all."""
        return quantile(self.values, self.share)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def __str__(self) -> str:
        """Return the middle, and how far the runs spread if there were several."""
        if len(self.values) == 1:
            return as_text(self.middle)
        spread = f"{as_text(self.low)}\N{EN DASH}{as_text(self.high)}"
        return f"{as_text(self.middle)} ({spread}, n={len(self.values)})"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of all lie, interpolated between neighbours.

    Definition 7 of Hyndman and Fan, "Sample quantiles in statistical packages" (1996).
    """
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    below, above = ordered[math.floor(at)], ordered[math.ceil(at)]
    return below + (above - below) * (at - math.floor(at))


def ratio(ours: Figure, theirs: Figure) -> float | None:
    """Return how many times theirs ours is; None if theirs is nothing.

    Two medians of runs that took turns are compared turn by turn, so that what slowed the
    machine down for a while slowed down both sides of a pair.
    """
    is_paired = len(ours.values) == len(theirs.values) > 1 and ours.share == theirs.share == 0.5
    if is_paired and all(theirs.values):
        return median(a / b for a, b in zip(ours.values, theirs.values, strict=True))
    return ours.middle / theirs.middle if theirs.middle else None


def take_turns(
    runs: int, *sides: Callable[[], float], warm_up: bool = True
) -> tuple[tuple[float, ...], ...]:
    """Return what each side gave, measured A B A B.

    Args:
        runs: Turns of each side.
        sides: Each measures once and returns its value.
        warm_up: Let every side run once unmeasured before.
    """
    if warm_up:
        for side in sides:
            side()
    turns = [[side() for side in sides] for _ in range(runs)]
    return tuple(zip(*turns, strict=True))


def as_text(value: float) -> str:
    """Return three significant digits, and whole numbers as they are."""
    if value == round(value):
        return f"{value:.0f}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"
