"""How long a household keeps what its doorbells bring: which time counts, and when it is over.

Rules only; no clock. What a clock says is believed no further than `Watch` believes it.
"""

from dataclasses import dataclass, replace
from typing import Final

DAY_MS: Final = 24 * 3600 * 1000

MIN_DAYS: Final = 1
MAX_DAYS: Final = 60
DEFAULT_DAYS: Final = 14

LONGEST_GAP_MS: Final = 2 * DAY_MS
"""Between two passes. After more, either the service was off for days or the clock is wrong."""

HOLD_S: Final = 24 * 3600.0
"""So long nothing goes by age then: a day, in which somebody may correct the clock."""


def counted_from(happened_ms: int, taken_ms: int, *, clock_synced: bool) -> int:
    """Return the time from which something is kept, Unix milliseconds.

    It is when it happened, if that can be: a doorbell whose clock stands in 1970 or in
    2090 would else lose all it has recorded, or keep it for ever.

    Args:
        happened_ms: By the doorbell's clock.
        taken_ms: When the service heard of it, by its own.
        clock_synced: Whether the doorbell's clock was set from outside.
    """
    return happened_ms if clock_synced and happened_ms <= taken_ms else taken_ms


def is_over(from_ms: int, now_ms: int, days: int) -> bool:
    """Return whether what is kept from ``from_ms`` on, for ``days``, is to go at ``now_ms``."""
    return from_ms <= oldest_kept(now_ms, days)


def oldest_kept(now_ms: int, days: int) -> int:
    """Return the newest time that is over at ``now_ms``."""
    return now_ms - days * DAY_MS


@dataclass(frozen=True, slots=True)
class Reading:
    """What the clock said when it was judged: the only time that a pass goes by.

    Attributes:
        now_ms: Unix milliseconds.
        is_believed: Whether things may go by age at ``now_ms``.
    """

    now_ms: int
    is_believed: bool


@dataclass(frozen=True, slots=True)
class Watch:
    """Whether the service's clock is believed when it says that things are old.

    Attributes:
        doubted_since_s: Monotonic; None while it is believed.
        doubted_ms: What the clock said then.
        was_waited_out: The doubt has lasted its day, and nobody has changed the clock.
    """

    doubted_since_s: float | None = None
    doubted_ms: int = 0
    was_waited_out: bool = False

    @property
    def is_believed(self) -> bool:
        """Return whether things may go by age now."""
        return self.doubted_since_s is None or self.was_waited_out

    def look(self, last_ms: int | None, now_ms: int, monotonic_s: float) -> "Watch":
        """Return what is believed now.

        Args:
            last_ms: When things last went by age, or else the newest time that is known to
                have been; None when nothing is known. Not moved on while the clock is in doubt.
            now_ms: What the clock says.
            monotonic_s: Of this process.
        """
        if last_ms is None or now_ms - last_ms <= LONGEST_GAP_MS:
            return Watch()
        if self.doubted_since_s is None:
            return Watch(monotonic_s, now_ms)
        passed_s = monotonic_s - self.doubted_since_s
        if abs(now_ms - self.doubted_ms - passed_s * 1000) > LONGEST_GAP_MS:
            # Another clock than the one that is waited out: it has its own day.
            return Watch(monotonic_s, now_ms)
        return replace(self, was_waited_out=passed_s >= HOLD_S)
