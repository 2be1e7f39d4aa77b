"""When something is tried again."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.backoff import FIRST_US, LONGEST_US, Backoff

CHANCES = st.floats(0, 1)
TIMES = st.integers(0, 10**15)


def test_what_was_never_tried_is_due() -> None:
    assert Backoff().is_due(0)


@given(now_us=TIMES, chance=CHANCES)
def test_the_first_repeat_comes_after_two_seconds_sharp(now_us: int, chance: float) -> None:
    after = Backoff().tried(now_us, chance)
    assert not after.is_due(now_us + FIRST_US - 1)
    assert after.is_due(now_us + FIRST_US)
    assert FIRST_US == 2_000_000


@given(tries=st.integers(1, 200), now_us=TIMES, chance=CHANCES)
def test_every_later_pause_is_within_the_upper_half_of_a_doubling_one(
    tries: int, now_us: int, chance: float
) -> None:
    after = Backoff(tries=tries).tried(now_us, chance)
    longest_us = min(LONGEST_US, FIRST_US * 2 ** min(tries, 60))
    assert longest_us // 2 <= after.due_us - now_us <= longest_us
    assert after.tries == tries + 1


@given(chances=st.lists(CHANCES, min_size=12, max_size=12))
def test_pauses_grow_and_stay_below_five_minutes(chances: list[float]) -> None:
    state, now_us, pauses = Backoff(), 0, []
    for chance in chances:
        state = state.tried(now_us, chance)
        pauses.append(state.due_us - now_us)
        now_us = state.due_us
    assert max(pauses) <= LONGEST_US
    # Each is at least half of a pause that is twice as long as the one before may be.
    assert all(b >= a // 2 for a, b in pairwise(pauses[1:]))
    assert pauses[-1] >= LONGEST_US // 2


def test_two_doorbells_that_lost_the_same_broker_do_not_come_back_in_step() -> None:
    one, other = (Backoff(tries=5).tried(0, chance).due_us for chance in (0.1, 0.9))
    assert other - one > 10_000_000
