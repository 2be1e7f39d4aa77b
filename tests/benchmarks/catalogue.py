"""All rows, and which of them somebody asks for."""

from collections.abc import Sequence

from tests.benchmarks import agent, delivery, motion, ring, sealing, start
from tests.benchmarks.lab import Bench

BENCHES: tuple[Bench, ...] = (
    *sealing.BENCHES,
    *delivery.BENCHES,
    *ring.BENCHES,
    *motion.BENCHES,
    *agent.BENCHES,
    *start.BENCHES,
)


def choose(benches: Sequence[Bench], wanted: Sequence[str]) -> list[tuple[Bench, list[str]]]:
    """Return each bench to run, and which of its rows to show.

    Args:
        benches: All there are.
        wanted: Names of rows, or how they begin: ``seal`` is all sealing. A whole name means
            that row alone, even where others begin with it. None is all.

    Raises:
        ValueError: A name fits no row.
    """
    names = [name for bench in benches for name in bench.rows]
    shown: set[str] = set() if wanted else set(names)
    for want in wanted:
        fitting = {want} if want in names else {name for name in names if name.startswith(want)}
        if not fitting:
            raise ValueError(f"no row is called {want}; there are: {' '.join(names)}")
        shown |= fitting
    chosen = [(bench, [name for name in bench.rows if name in shown]) for bench in benches]
    return [(bench, rows) for bench, rows in chosen if rows]
