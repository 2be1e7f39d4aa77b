"""A hostile doorbell's nonsense costs nobody else anything; the long form is in `make soak`."""

from pathlib import Path

from doorstep_cloud.ingest.counters import Count
from doorstep_cloud.store.spool import DEVICE_LIMIT_BYTES
from tests.flood import Outcome, flood

SEED, MESSAGES = 20_261_122, 5_000
GROWN_BYTES = 3_000_000


def judge(outcome: Outcome) -> None:
    """Compare what every flood has to end with, whatever its length."""
    assert outcome.counts.get(Count.CRASHED, 0) == 0
    assert outcome.grown_bytes < GROWN_BYTES
    assert outcome.spool_bytes < 2 * DEVICE_LIMIT_BYTES
    assert outcome.honest_rings >= 2
    assert outcome.honest_clips >= 2
    # It did reach the desks.
    for what in (Count.DROPPED_MALFORMED, Count.DROPPED_FOREIGN, Count.OBJECT_STORED):
        assert outcome.counts[what] > 0


def test_a_flood_of_nonsense_crashes_nothing_and_delays_nobody(tmp_path: Path) -> None:
    judge(flood(tmp_path, SEED, MESSAGES))
