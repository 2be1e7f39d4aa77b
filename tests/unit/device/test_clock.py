import asyncio
import ctypes
import time
from datetime import UTC, datetime, timedelta

import pytest

from doorstep_device.adapters.clock import PacedClock, SystemClock


def test_the_system_clock_tells_wall_time_in_utc_and_monotonic_time() -> None:
    clock = SystemClock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    before = clock.monotonic_us()
    asyncio.run(clock.sleep(0.002))
    assert clock.monotonic_us() - before >= 2000
    asyncio.run(clock.sleep(-1))


def test_the_system_clock_is_synced_when_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Libc:
        def __init__(self, answer: int) -> None:
            self.adjtimex = lambda _timex: answer

    for answer, is_synced in ((0, True), (4, True), (5, False), (-1, False)):
        monkeypatch.setattr(ctypes, "CDLL", lambda _name, a=answer: Libc(a))
        assert SystemClock().is_synced() is is_synced
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert SystemClock().is_synced() is False


def test_a_paced_clock_runs_faster_in_every_way() -> None:
    clock = PacedClock(50)
    true_start, start_us, start = time.monotonic(), clock.monotonic_us(), clock.now()
    asyncio.run(clock.sleep(1))
    passed_us = clock.monotonic_us() - start_us
    assert passed_us >= 1_000_000
    assert time.monotonic() - true_start < 1
    assert abs((clock.now() - start).total_seconds() - passed_us / 1e6) < 1


def test_a_paced_clock_does_not_claim_the_true_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "is_synced", lambda _self: True)
    assert PacedClock(1).is_synced()
    assert not PacedClock(2).is_synced()


def test_a_clock_that_stands_still_is_refused() -> None:
    with pytest.raises(ValueError, match="rate"):
        PacedClock(0)
