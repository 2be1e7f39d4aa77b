"""Whatever is asked, an answer is one of ours; the long form is in `make soak`."""

from tests.cast import FOREIGN, OWN, STRANGER, stage
from tests.flood import little_said
from tests.people import OWNER
from tests.strange_requests import Asker, Memory

SEED, REQUESTS = 20_261_122, 1_000


def ask(seed: int, times: int) -> dict[int, int]:
    """Send so many requests of ``seed`` to a service of its own."""
    store = Memory()
    with little_said(), stage(store) as home:
        home.found(OWNER, OWN)
        home.found(STRANGER, FOREIGN)
        return Asker(home, store, seed).ask(times)


def judge(statuses: dict[int, int]) -> None:
    """Compare what came back: every request was answered, and not only at the door."""
    assert {200, 201, 400, 401, 403, 404, 405, 409, 422} <= set(statuses)
    assert statuses[200] > sum(statuses.values()) / 20


def test_strange_requests_are_answered_in_words_and_tell_of_no_other_household() -> None:
    judge(ask(SEED, REQUESTS))
