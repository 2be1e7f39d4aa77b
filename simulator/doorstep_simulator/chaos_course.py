"""What came of a plan: what struck when, how long until all was well, what was recorded."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from doorstep_simulator.chaos_plan import Deed, Fault, Plan


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault that struck; times are seconds since the run began.

    Attributes:
        fault: Which.
        at_s: When.
        over_s: When its own doing ended; at once for a kill.
        well_s: After a kill, when the first thing that happened after it had gone all the way
            again: an event acknowledged or, for the store, an object stored. None otherwise.
    """

    fault: Fault
    at_s: float
    over_s: float
    well_s: float | None = None

    @property
    def is_kill(self) -> bool:
        """Return whether a process was killed."""
        return self.fault.deed is Deed.KILL

    @property
    def recovery_s(self) -> float | None:
        """Return how long the killed one was missed; None for what is no kill."""
        return None if self.well_s is None else self.well_s - self.at_s

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            **asdict(self.fault),
            "at_s": round(self.at_s, 2),
            "over_s": round(self.over_s, 2),
            "recovery_s": None if self.recovery_s is None else round(self.recovery_s, 2),
        }


@dataclass(frozen=True, slots=True)
class ClipMark:
    """A clip on its way; times are seconds since the run began.

    Attributes:
        bell: Whose, from 0.
        finished_s: When it was complete on the card, or first told of.
        stored_s: When its doorbell had a receipt for all of it; None if it never came.
    """

    bell: int
    finished_s: float
    stored_s: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """How a run went.

    Attributes:
        plan: What was meant to be done.
        strikes: What was done, in that order.
        clips: Every clip recorded.
        length_s: From the first moment until the cards were empty.
    """

    plan: Plan
    strikes: Sequence[Strike]
    clips: Sequence[ClipMark]
    length_s: float

    @property
    def kills(self) -> list[Strike]:
        """Return the kills among the strikes."""
        return [strike for strike in self.strikes if strike.is_kill]

    @property
    def recovery_s_max(self) -> float:
        """Return the longest time that a killed process was missed; 0 without kills."""
        return max((kill.recovery_s or 0.0 for kill in self.kills), default=0.0)
