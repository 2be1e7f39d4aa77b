"""The episode: when a clip begins, goes on, is split into parts, and ends.

One visit is one episode, whatever it is made of: motion before the ring, the ring,
motion after it. The table below is the whole rule; the rest says when its signals come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from doorstep_shared.ids import EventId
from doorstep_shared.manifest import MAX_EVENTS, ClipKind

_SECOND_US: Final = 1_000_000


class Phase(Enum):
    """Where an episode stands."""

    IDLE = "idle"
    MOTION = "motion"  # something moves: it goes on
    POST_ROLL = "post-roll"  # nothing moves any more, or only the ring was pressed


class Signal(Enum):
    """What moves an episode on."""

    RING = "ring"
    MOTION_BEGAN = "motion began"
    MOTION_ENDED = "motion ended"
    TIME_UP = "time up"  # the post-roll is over, or the episode as long as it may get


# A clip begins where IDLE is left and ends where it is entered; every other event joins the
# clip under way.
TRANSITIONS: Final[Mapping[tuple[Phase, Signal], Phase]] = {
    (Phase.IDLE, Signal.RING): Phase.POST_ROLL,
    (Phase.IDLE, Signal.MOTION_BEGAN): Phase.MOTION,
    (Phase.IDLE, Signal.MOTION_ENDED): Phase.IDLE,
    (Phase.IDLE, Signal.TIME_UP): Phase.IDLE,
    (Phase.MOTION, Signal.RING): Phase.MOTION,
    (Phase.MOTION, Signal.MOTION_BEGAN): Phase.MOTION,
    (Phase.MOTION, Signal.MOTION_ENDED): Phase.POST_ROLL,
    (Phase.MOTION, Signal.TIME_UP): Phase.IDLE,
    (Phase.POST_ROLL, Signal.RING): Phase.POST_ROLL,
    (Phase.POST_ROLL, Signal.MOTION_BEGAN): Phase.MOTION,
    (Phase.POST_ROLL, Signal.MOTION_ENDED): Phase.POST_ROLL,
    (Phase.POST_ROLL, Signal.TIME_UP): Phase.IDLE,
}


@dataclass(frozen=True, slots=True)
class Episode:
    """What is going on at the door.

    Attributes:
        post_roll_us: A clip goes on this long after the last ring, or after motion ended.
        longest_us: Motion holds an episode open no longer than this after it began, or
            after its last ring: a branch in the wind is no visitor.
        phase: Where it stands.
        quiet_us: When the post-roll is over, as things stand.
        cap_us: When it ends at the latest.
    """

    post_roll_us: int = 8 * _SECOND_US
    longest_us: int = 600 * _SECOND_US
    phase: Phase = Phase.IDLE
    quiet_us: int = 0
    cap_us: int = 0

    @property
    def is_under_way(self) -> bool:
        """Whether there is something to record."""
        return self.phase is not Phase.IDLE

    def is_time_up(self, at_us: int) -> bool:
        """Return whether `Signal.TIME_UP` is due at ``at_us``."""
        if self.phase is Phase.MOTION:
            return at_us >= self.cap_us
        return self.is_under_way and at_us >= min(self.quiet_us, self.cap_us)

    def feed(self, signal: Signal, at_us: int) -> "Episode":
        """Return the episode after ``signal``."""
        quiet_us, cap_us = self.quiet_us, self.cap_us
        if signal is not Signal.TIME_UP:
            quiet_us = max(quiet_us, at_us + self.post_roll_us)
        if signal is Signal.RING or not self.is_under_way:
            cap_us = at_us + self.longest_us
        phase = TRANSITIONS[self.phase, signal]
        return replace(self, phase=phase, quiet_us=quiet_us, cap_us=cap_us)


@dataclass(frozen=True, slots=True)
class PartLimits:
    """When a part of a long episode has to end.

    Attributes:
        longest_us: Length of a part.
        max_bytes: Of its sealed file; the part ends at the next key frame.
        hard_bytes: It ends at any frame, since a file may have 32 MiB; no camera that keeps
            its promise of a key frame a second comes here.
    """

    longest_us: int = 120 * _SECOND_US
    max_bytes: int = 24 * 1024 * 1024
    hard_bytes: int = 30 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """What one clip of an episode is about.

    Attributes:
        kind: Of the clip; a ring wins over motion.
        events: At most 32, the first is what the clip is known by.
        number: Counts the episode's parts from 1.
        waiting: Events that found no more room here; they open the next part.
    """

    kind: ClipKind
    events: tuple[EventId, ...]
    number: int = 1
    waiting: tuple[EventId, ...] = ()

    def join(self, kind: ClipKind, event: EventId) -> "Part":
        """Return the part with one more event, or with it waiting for the next part.

        An event that is known already, motion that came back, changes nothing.
        """
        if event in (*self.events, *self.waiting):
            return self
        kind = ClipKind.RING if ClipKind.RING in {self.kind, kind} else ClipKind.MOTION
        if len(self.events) == MAX_EVENTS:
            return replace(self, kind=kind, waiting=(*self.waiting, event)[-MAX_EVENTS + 1 :])
        return replace(self, kind=kind, events=(*self.events, event))

    def is_over(
        self, limits: PartLimits, *, length_us: int, size_bytes: int, at_key_frame: bool
    ) -> bool:
        """Return whether the next part begins with the frame that comes now."""
        if not at_key_frame:
            return size_bytes >= limits.hard_bytes
        is_full = length_us >= limits.longest_us or size_bytes >= limits.max_bytes
        return is_full or bool(self.waiting)

    def next(self) -> "Part":
        """Return the part that follows: known by the same event, with those that waited."""
        events = (self.events[0], *self.waiting)
        return replace(self, number=self.number + 1, events=events, waiting=())
