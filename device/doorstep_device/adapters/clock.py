"""The computer's clock, and one that runs faster for replays."""

import asyncio
import ctypes
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from doorstep_device.ports.clock import Clock

# adjtimex(2): the kernel's own word on whether a time daemon (any of them) keeps the
# clock. TIME_ERROR also covers a battery-less board that has not reached a server yet.
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512  # struct timex takes 208 on 64-bit Linux; zeroed, it only asks


def _is_kernel_clock_synced() -> bool:
    """Return the kernel's verdict; False where there is no adjtimex."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except AttributeError:
        return False
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return 0 <= state < _TIME_ERROR


class SystemClock(Clock):
    """The time of this computer."""

    def monotonic_us(self) -> int:
        """Return CLOCK_MONOTONIC in microseconds."""
        return time.monotonic_ns() // 1000

    def now(self) -> datetime:
        """Return the system's wall time in UTC."""
        return datetime.now(UTC)

    def is_synced(self) -> bool:
        """Return whether the kernel counts its clock as set by a time daemon."""
        return _is_kernel_clock_synced()

    async def sleep(self, seconds: float) -> None:
        """Sleep that long."""
        await asyncio.sleep(max(0.0, seconds))


class PacedClock(Clock):
    """A clock that starts at the true time and runs `rate` times as fast.

    Everything paced by it (a video, pre-roll, timeouts) shrinks alike.

    Attributes:
        rate: Seconds of this clock per true second, above 0.
    """

    def __init__(self, rate: float) -> None:
        """Start running now."""
        if rate <= 0:
            message = f"a clock cannot run at rate {rate}"
            raise ValueError(message)
        self.rate = rate
        self._system = SystemClock()
        self._started_us = self._system.monotonic_us()
        self._started_at = self._system.now()

    def monotonic_us(self) -> int:
        """Return microseconds of this clock."""
        passed_us = self._system.monotonic_us() - self._started_us
        return self._started_us + round(passed_us * self.rate)

    def now(self) -> datetime:
        """Return this clock's wall time: ahead of the true one, unless the rate is 1."""
        return self._started_at + timedelta(microseconds=self.monotonic_us() - self._started_us)

    def is_synced(self) -> bool:
        """Return False, since its wall time is made up, unless the rate is 1."""
        return self.rate == 1 and self._system.is_synced()

    async def sleep(self, seconds: float) -> None:
        """Sleep for that many seconds of this clock."""
        await self._system.sleep(seconds / self.rate)
