"""The timeline: a camera's own stamps brought onto our clock.

A live camera stamps its pictures by a clock of its own, which drifts, starts anew and
leaps; the network delivers them late and in bunches. The stamps say how far pictures are
apart, our clock says when it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

# Every so often, what all pictures were late by is drift or a leap, and no longer jitter.
WINDOW_US: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Timeline:
    """Gives every picture a time on our clock: strictly rising, and never in the future.

    Attributes:
        offset_us: Our time less the camera's.
        step_us: From picture to picture, where a stamp is missing.
        at_us: Of the last picture; None before the first.
        stamp_us: The camera's own time of the last picture.
        least_late_us: The least that a picture came late by in this window; None when the
            window begins.
        window_ends_us: When the next window begins.
    """

    offset_us: int
    step_us: int
    at_us: int | None = None
    stamp_us: int | None = None
    least_late_us: int | None = None
    window_ends_us: int = 0

    @classmethod
    def begin(cls, seen: Sequence[tuple[int, int]], step_us: int) -> "Timeline":
        """Return the timeline of a camera whose first pictures have been received.

        Args:
            seen: Stamp and time of arrival of each, one or more: the least late of them
                sets our clock by the camera's.
            step_us: From picture to picture, about.
        """
        return cls(min(arrived - stamp for stamp, arrived in seen), step_us)

    def feed(self, stamp_us: int | None, now_us: int) -> tuple["Timeline", int]:
        """Return the timeline after a picture, and when it was taken.

        Args:
            stamp_us: By the camera's clock; None where it does not say.
            now_us: When it arrived, by ours.
        """
        if stamp_us is None:
            stamp_us = self._guess_stamp(now_us)
        line = self._set_anew(stamp_us, now_us)
        due_us = stamp_us + line.offset_us
        late_us = now_us - due_us
        least_us = late_us if line.least_late_us is None else min(line.least_late_us, late_us)
        at_us = due_us if self.at_us is None else max(due_us, self.at_us + 1)
        return replace(line, at_us=at_us, stamp_us=stamp_us, least_late_us=least_us), at_us

    def _guess_stamp(self, now_us: int) -> int:
        return now_us - self.offset_us if self.stamp_us is None else self.stamp_us + self.step_us

    def _set_anew(self, stamp_us: int, now_us: int) -> "Timeline":
        """Set the clocks by each other where the camera's has leapt, and after a window.

        A leap goes back, or ahead of our clock. At the end of a window, what every picture
        in it was late by is taken off.
        """
        is_back = self.stamp_us is not None and stamp_us <= self.stamp_us
        is_ahead = stamp_us + self.offset_us > now_us
        is_over = now_us >= self.window_ends_us
        if not (is_back or is_ahead or is_over):
            return self
        offset_us = self.offset_us + (self.least_late_us or 0)
        if is_back or stamp_us + offset_us > now_us:
            offset_us = now_us - stamp_us
        ends_us = now_us + WINDOW_US
        return replace(self, offset_us=offset_us, least_late_us=None, window_ends_us=ends_us)
