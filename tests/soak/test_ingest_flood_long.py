"""The flood of `tests/simulated`, twenty times as long, and another one each time."""

import secrets
from pathlib import Path

from tests.flood import flood
from tests.simulated.test_ingest_flood import judge

MESSAGES = 100_000


def test_a_long_flood_of_nonsense_crashes_nothing_and_delays_nobody(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it when the trial fails
    outcome = flood(tmp_path, seed, MESSAGES)
    print(outcome)  # noqa: T201
    judge(outcome)
