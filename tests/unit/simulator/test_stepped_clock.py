"""A clock that is put on or back: the time of day follows, durations do not."""

import asyncio
from datetime import timedelta

from doorstep_device.adapters.clock import PacedClock
from doorstep_simulator.stepped_clock import SteppedClock


def test_a_step_is_seen_in_the_wall_time_alone() -> None:
    clock = SteppedClock(PacedClock(1))
    before, monotonic_us = clock.now(), clock.monotonic_us()
    clock.step(-3600)
    assert timedelta(minutes=59) < before - clock.now() <= timedelta(hours=1)
    clock.step(7200)
    assert timedelta(hours=1) <= clock.now() - before < timedelta(minutes=61)
    assert 0 <= clock.monotonic_us() - monotonic_us < 60_000_000


async def test_it_runs_and_sleeps_at_the_pace_of_the_clock_beneath() -> None:
    clock = SteppedClock(PacedClock(50))
    began_us = clock.monotonic_us()
    async with asyncio.timeout(5):
        await clock.sleep(2)
    assert clock.monotonic_us() - began_us >= 2_000_000
    assert not clock.is_synced()
