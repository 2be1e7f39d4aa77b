"""When to try again: soon at first, then ever more slowly, and never in step.

The random part keeps a street of doorbells from coming back in the same
second after a broker's restart ("full jitter" around the upper half, after
Brooker, "Exponential Backoff And Jitter", 2015).
"""

from dataclasses import dataclass, replace
from typing import Final

FIRST_US: Final = 2_000_000
LONGEST_US: Final = 300_000_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often something was tried, and when to try next.

    Attributes:
        tries: So far.
        due_us: When the next try is due, monotonic.
        first_us: The first pause.
        longest_us: No pause is longer.
    """

    tries: int = 0
    due_us: int = 0
    first_us: int = FIRST_US
    longest_us: int = LONGEST_US

    def is_due(self, now_us: int) -> bool:
        """Return whether it is time to try."""
        return now_us >= self.due_us

    def tried(self, now_us: int, chance: float) -> "Backoff":
        """Return the state after a try at ``now_us``.

        Args:
            now_us: Monotonic.
            chance: A random number from 0 to 1.
        """
        longest = min(self.longest_us, self.first_us << min(self.tries, 20))
        pause = longest // 2 + int(longest / 2 * chance)
        # The first repeat is prompt and certain: an answer takes milliseconds.
        pause = self.first_us if self.tries == 0 else pause
        return replace(self, tries=self.tries + 1, due_us=now_us + pause)
