"""The strange requests of `tests/simulated`, twenty thousand of them, and others each time."""

import secrets

from tests.simulated.cloud.test_strange_requests import ask, judge

REQUESTS = 20_000


def test_many_strange_requests_are_answered_in_words() -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it when the trial fails
    statuses = ask(seed, REQUESTS)
    print(statuses)  # noqa: T201
    judge(statuses)
