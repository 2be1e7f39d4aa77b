"""What a doorbell may send before it is put out for a while."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.ingest.quota import (
    BANISHED_US,
    CONTROL,
    REMEMBERED,
    UNASKED,
    Allowance,
    Banished,
    Quota,
)
from doorstep_device.rules.eviction import MAX_WAITING_EVENTS
from doorstep_shared.ids import DeviceId
from tests.people import doorbell

FRONT, BACK = doorbell("front").device.id, doorbell("back").device.id
SECOND_US = 1_000_000
SMALL = Allowance(burst=5, per_s=2)
# The 2 GiB that clips take unless told otherwise, in clips of a third of a megabyte.
ANNOUNCEMENTS = 6000


def passed(quota: Quota, times_us: list[int]) -> int:
    return sum(quota.spend(FRONT, at_us) for at_us in times_us)


@given(st.lists(st.integers(0, 10 * SECOND_US), max_size=60))
def test_never_more_passes_than_the_burst_and_what_time_has_given(times_us: list[int]) -> None:
    times_us.sort()
    most = SMALL.burst + SMALL.per_s * (max(times_us, default=0) / SECOND_US)
    assert passed(Quota(SMALL), times_us) <= most


@given(st.integers(0, 2**50), st.integers(1, 200))
def test_who_keeps_to_the_rate_always_passes(start_us: int, count: int) -> None:
    times_us = [start_us + n * SECOND_US // SMALL.per_s for n in range(count)]
    assert passed(Quota(SMALL), times_us) == count


def test_a_flood_costs_nobody_else() -> None:
    quota = Quota(SMALL)
    assert passed(quota, [0] * 100) == SMALL.burst
    assert quota.spend(BACK, 0)


def test_a_clock_that_goes_backwards_gives_nothing() -> None:
    assert passed(Quota(SMALL), [SECOND_US * 100, *[0] * 100]) == SMALL.burst


def test_what_is_remembered_is_bounded() -> None:
    quota = Quota(SMALL)
    for number in range(REMEMBERED + 1):
        quota.spend(DeviceId(f"{number:04x}"), number)
    assert len(quota._accounts) == REMEMBERED


@pytest.mark.parametrize("per_s", [math.inf, 1000, 240, 65])
def test_a_card_full_of_what_happened_while_the_service_was_away_passes(per_s: float) -> None:
    quota = Quota(CONTROL)
    times_us = [round(n * SECOND_US / per_s) for n in range(MAX_WAITING_EVENTS + ANNOUNCEMENTS)]
    assert passed(quota, times_us) == len(times_us)


def test_a_flood_is_over_soon_after_a_full_card() -> None:
    assert MAX_WAITING_EVENTS + ANNOUNCEMENTS <= CONTROL.burst < 2 * MAX_WAITING_EVENTS
    assert UNASKED.burst < CONTROL.burst


def test_who_is_out_comes_in_again_after_a_minute() -> None:
    banished = Banished()
    assert banished.add(FRONT, 0)
    assert not banished.add(FRONT, SECOND_US)
    assert banished.without([FRONT, BACK]) == [BACK]
    assert banished.due(BANISHED_US) == set()
    assert banished.due(BANISHED_US + SECOND_US) == {FRONT}
    banished.forgive([FRONT])
    assert banished.without([FRONT, BACK]) == [FRONT, BACK]
