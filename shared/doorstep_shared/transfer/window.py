"""How many segments may be on the way: found by watching how late replies are.

A full queue in the home's router shows as delay long before it shows as loss.
The rule is LEDBAT's (RFC 6817) in its simplest form: the least delay seen is
the line, everything above it is queue, and the queue is kept short.
"""

from dataclasses import dataclass, replace
from typing import Final

from doorstep_shared.transfer.messages import MAX_WINDOW

START: Final = 4
# A ring shares the uplink. Twice this and a person at the door would feel it.
LATE_US: Final = 150_000


@dataclass(frozen=True, slots=True)
class Window:
    """Segments allowed on the way, by delay alone.

    Attributes:
        size: 1 to 16 segments.
        least_us: The shortest delay seen; None before the first.
        cautious: Whether a late reply was seen: growth is then one segment per
            window instead of one per reply.
        measured: Replies since the last change.
    """

    size: int = START
    least_us: int | None = None
    cautious: bool = False
    measured: int = 0

    def feed(self, delay_us: int) -> "Window":
        """Return the window after a segment was answered ``delay_us`` after it left."""
        least = delay_us if self.least_us is None else min(self.least_us, delay_us)
        is_late = delay_us > least + LATE_US
        measured = self.measured + 1
        # Once cautious, one step per window: what left before the last step, one segment
        # more than the window now holds, still tells of the old queue.
        if self.cautious and measured <= self.size:
            return replace(self, least_us=least, measured=measured)
        # A step of one: a delay on a lossy link is often a single retransmission.
        size = self.size - 1 if is_late else self.size + 1
        return Window(min(max(size, 1), MAX_WINDOW), least, self.cautious or is_late)
