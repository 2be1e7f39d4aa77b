"""Turn button edges into rings.

A worn contact bounces: one finger makes several edges within a few
milliseconds. And a visitor who waits presses again: those presses belong to
the same visit. The rules read no clock and touch no pin, so that a test can
replay any finger. Back ends differ in how they debounce, and the simulated
pins do not at all, so this is the only place that decides.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

# A push button settles within 5 ms (Ganssle, "A Guide to Debouncing", 2008: 6.2 ms at
# worst); long outdoor wires add to that.
QUIET_US: Final = 30_000
# A visitor who is looking for the button presses again after about two seconds;
# anything sooner is the same visit.
SAME_VISIT_US: Final = 2_000_000


class Level(Enum):
    """Whether the contact is closed by a finger."""

    HELD = "held"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Edge:
    """The contact changed.

    Attributes:
        level: What it changed to.
        at_us: When, monotonic.
    """

    level: Level
    at_us: int


@dataclass(frozen=True, slots=True)
class Visit:
    """Remember just enough to tell a new ring from a bounce and from impatience.

    Attributes:
        last_edge_us: Time of the last edge; None before the first.
        last_press_us: Time of the last press, coalesced ones included.
    """

    last_edge_us: int | None = None
    last_press_us: int | None = None

    def feed(self, edge: Edge) -> tuple["Visit", bool]:
        """Return the next state and whether this edge rings.

        The first edge of a press rings at once: nobody waits for it to settle.
        """
        bounces = self.last_edge_us is not None and edge.at_us - self.last_edge_us < QUIET_US
        after = replace(self, last_edge_us=edge.at_us)
        if edge.level is Level.RELEASED or bounces:
            return after, False
        is_new = self.last_press_us is None or edge.at_us - self.last_press_us >= SAME_VISIT_US
        return replace(after, last_press_us=edge.at_us), is_new
