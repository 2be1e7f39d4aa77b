"""The watcher: turns looking at frames into motion that begins and ends."""

from dataclasses import dataclass

from doorstep_device.ports.camera import Frame
from doorstep_device.rules.motion import NO_MOTION, Motion, MotionRule, MotionState


@dataclass(frozen=True, slots=True)
class Seen:
    """What one frame told.

    Attributes:
        motion: The rule's decision.
        began: Motion began with this frame.
        ended: Motion ended with this frame.
    """

    motion: Motion
    began: bool
    ended: bool


class Watcher:
    """Follows one capture, frame by frame."""

    def __init__(self, rule: MotionRule) -> None:
        self._rule = rule
        self._state: MotionState = rule.start()
        self._last = NO_MOTION

    def look(self, frame: Frame) -> Seen:
        """Return what ``frame`` tells; frames in order."""
        self._state, motion = self._rule.feed(self._state, frame.luma, frame.at_us)
        before, self._last = self._last, motion
        return Seen(
            motion=motion,
            began=motion.is_moving and not before.is_moving,
            ended=before.is_moving and not motion.is_moving,
        )
