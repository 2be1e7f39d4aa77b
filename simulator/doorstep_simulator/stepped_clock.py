"""A doorbell's clock that a hand can put on or back."""

from datetime import datetime, timedelta

from doorstep_device.ports.clock import Clock


class SteppedClock(Clock):
    """Another clock, its wall time put on or back; durations pass as before."""

    def __init__(self, inner: Clock) -> None:
        """Show the time of ``inner``."""
        self._inner = inner
        self._ahead = timedelta()

    def step(self, seconds: float) -> None:
        """Put the wall time on by ``seconds``, or back if they are below 0."""
        self._ahead += timedelta(seconds=seconds)

    def monotonic_us(self) -> int:
        """As `Clock.monotonic_us`: no step is seen here."""
        return self._inner.monotonic_us()

    def now(self) -> datetime:
        """As `Clock.now`, after every step."""
        return self._inner.now() + self._ahead

    def is_synced(self) -> bool:
        """As `Clock.is_synced`: whoever put the clock may have been wrong."""
        return self._inner.is_synced()

    async def sleep(self, seconds: float) -> None:
        """As `Clock.sleep`."""
        await self._inner.sleep(seconds)
