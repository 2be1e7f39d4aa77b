"""The plan of a fault lab: what will be done to whom, and when. The same seed, the same plan.

A pure value. When a fault strikes is told in clips, not in seconds, so that the faults
spread over the whole run on any machine.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from random import Random
from typing import Final, TypeVar

T = TypeVar("T")

# Beside the kills: as many again would leave no moment in which only one thing is wrong.
_OTHERS_PER_KILL: Final = 0.6
# A kill that comes on the heels of the last fault, before anything is well again.
_RUSHED: Final = 0.25
_PAUSE_S: Final = (0.1, 1.2)
# Shorter than what takes a broker or a service down for good, longer than most time-outs here.
_LASTS_S: Final = (0.8, 3.0)
_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
# Back beyond the household's own beginning, and on beyond every term of ours.
_STEPS_S: Final = (-3 * 365 * _DAY_S, -2 * _DAY_S, -_HOUR_S, _HOUR_S, 2 * _DAY_S, 400 * _DAY_S)


class Victim(StrEnum):
    """A process that faults strike."""

    AGENT = "agent"
    BROKER = "broker"
    SERVICE = "service"
    STORE = "store"


class Deed(StrEnum):
    """What is done."""

    KILL = "kill"
    STALL = "stall"
    CUT_LINE = "cut line"
    STEP_CLOCK = "step clock"
    FILL_CARD = "fill card"
    ANSWER_500 = "answer 500"
    ANSWER_503 = "answer 503"
    ANSWER_LATE = "answer late"
    BREAK_ANSWER = "break answer"
    FLIP_BYTE = "flip byte"


STORE_DEEDS: Final = frozenset(
    {Deed.ANSWER_500, Deed.ANSWER_503, Deed.ANSWER_LATE, Deed.BREAK_ANSWER, Deed.FLIP_BYTE}
)
"""What the way to the object store does to what passes."""

_OTHERS: Final = (
    *((Deed.STALL, victim) for victim in Victim),
    *((deed, Victim.AGENT) for deed in (Deed.CUT_LINE, Deed.STEP_CLOCK, Deed.FILL_CARD)),
    *((deed, Victim.STORE) for deed in Deed if deed in STORE_DEEDS),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        deed: What.
        victim: To whom.
        bell: Which doorbell, from 0, for faults that strike one; None for the others.
        at_clip: It strikes when so many clips have been recorded.
        after_s: And so long after the fault before it.
        waits: And not before everything killed is well again.
        lasts_s: How long; 0 for what is done in an instant.
        step_s: How far a clock is put on; back, below 0.
    """

    deed: Deed
    victim: Victim
    bell: int | None
    at_clip: int
    after_s: float
    waits: bool
    lasts_s: float = 0.0
    step_s: int = 0

    @property
    def words(self) -> str:
        """Return what is done, as a person says it."""
        name = self.victim.value if self.bell is None else f"doorbell {self.bell + 1}"
        return _WORDS[self.deed].format(name=name, lasts=self.lasts_s, step=_spoken(self.step_s))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run does to the stack.

    Attributes:
        seed: Decides it.
        clips: As many are recorded, or more.
        kills: Among the faults.
        bells: Doorbells.
        faults: In the order in which they strike.
    """

    seed: int
    clips: int
    kills: int
    bells: int
    faults: tuple[Fault, ...]

    def to_json(self) -> list[dict[str, object]]:
        """Return the faults as JSON has them."""
        return [asdict(fault) for fault in self.faults]


def draw_plan(*, seed: int, clips: int, kills: int, bells: int) -> Plan:
    """Return the plan of ``seed``.

    Every four kills strike each process once, in an order of their own, and so with the
    other faults: chance leaves nobody out.
    """
    random = Random(seed)
    killed = [
        _fault(random, Deed.KILL, victim, at_clip, bells)
        for victim, at_clip in zip(
            _dealt(tuple(Victim), kills, random), _spread(clips, kills, random), strict=True
        )
    ]
    count = round(kills * _OTHERS_PER_KILL)
    others = [
        _fault(random, deed, victim, at_clip, bells)
        for (deed, victim), at_clip in zip(
            _dealt(_OTHERS, count, random), _spread(clips, count, random), strict=True
        )
    ]
    faults = tuple(sorted([*killed, *others], key=lambda fault: fault.at_clip))
    return Plan(seed, clips, kills, bells, faults)


def _fault(random: Random, deed: Deed, victim: Victim, at_clip: int, bells: int) -> Fault:
    is_instant = deed in {Deed.KILL, Deed.STEP_CLOCK}
    return Fault(
        deed=deed,
        victim=victim,
        bell=random.randrange(bells) if victim is Victim.AGENT else None,
        at_clip=at_clip,
        after_s=round(random.uniform(*_PAUSE_S), 2),
        waits=deed is Deed.KILL and random.random() >= _RUSHED,
        lasts_s=0.0 if is_instant else round(random.uniform(*_LASTS_S), 2),
        step_s=random.choice(_STEPS_S) if deed is Deed.STEP_CLOCK else 0,
    )


def _dealt(deck: Sequence[T], count: int, random: Random) -> list[T]:
    """Return ``count`` of the deck, shuffled anew each time it has been dealt."""
    dealt: list[T] = []
    while len(dealt) < count:
        dealt += random.sample(deck, len(deck))
    return dealt[:count]


def _spread(clips: int, count: int, random: Random) -> list[int]:
    """Return ``count`` numbers of clips, rising: each somewhere in its own share of the run."""
    return [int(clips * (place + random.random()) / count) for place in range(count)]


def _spoken(step_s: int) -> str:
    size, way = abs(step_s), "on" if step_s > 0 else "back"
    if size < _DAY_S:
        return f"{size // _HOUR_S} h {way}"
    return f"{size // _DAY_S} days {way}"


_WORDS: Final = {
    Deed.KILL: "SIGKILL: {name}",
    Deed.STALL: "{name} stands still for {lasts:.1f} s",
    Deed.CUT_LINE: "the line of {name} is cut for {lasts:.1f} s",
    Deed.STEP_CLOCK: "the clock of {name} is put {step}",
    Deed.FILL_CARD: "the card of {name} is full for {lasts:.1f} s",
    Deed.ANSWER_500: "the {name} answers 500 for {lasts:.1f} s",
    Deed.ANSWER_503: "the {name} answers 503 for {lasts:.1f} s",
    Deed.ANSWER_LATE: "the {name} answers late for {lasts:.1f} s",
    Deed.BREAK_ANSWER: "the answers of the {name} break off for {lasts:.1f} s",
    Deed.FLIP_BYTE: "a byte is flipped on each way to the {name} for {lasts:.1f} s",
}
