"""The clock: how long things take, and what time it is."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Monotonic time for durations, wall time for stamps.

    The two are never mixed: a duration is a difference of `monotonic_us`, and a
    stamp is one reading of `now`, told together with `is_synced`.
    """

    def monotonic_us(self) -> int:
        """Return microseconds since an arbitrary zero; it never steps back."""
        ...

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC; it may step either way."""
        ...

    def is_synced(self) -> bool:
        """Return whether the wall time was set from an outside source."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `monotonic_us` has advanced by `seconds` or more.

        Args:
            seconds: Zero or less only gives way to other tasks.
        """
        ...
