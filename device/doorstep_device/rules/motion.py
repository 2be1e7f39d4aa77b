"""Motion: what differs from the learned background, is big enough, and is no mere light.

Each pixel has a background (a running average) and a liveliness (a running mean of its
own deviation, after Manzanera and Richefeu, "A new motion detection algorithm based on
Sigma-Delta background estimation", 2007), so that a waving tree raises its own
threshold. A changed patch that still shows the background's texture is a change of
light (Jacques, Jung and Musse, "Background subtraction and shadow detection in
grayscale video sequences", 2005).
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from doorstep_device.rules.zones import EVERYWHERE, Zone

# Ten looks a second at most; below that, so that a picture that comes a little early
# (25 a second: every third) is not left out for the next.
_LOOK_EVERY_US: Final = 90_000
# After a gap, one look teaches as much as a second of looks.
_MAX_STEP_S: Final = 1.0
_BLUR_PX: Final = 5  # evens out sensor noise and the codec's block edges
_START_LIVELINESS: Final = 4.0  # a cold start takes each pixel for a slightly noisy one
_SPECK: Final = np.ones((3, 3), np.uint8)  # anything thinner than this is noise


@dataclass(frozen=True, slots=True)
class MotionSettings:
    """What counts as motion. Luma runs from 0 to 255.

    Attributes:
        zone: Where motion counts.
        min_change: Least change of a pixel; the noise of a night picture stays below.
        liveliness_factor: A pixel has changed when it deviates by this much of its own
            mean deviation (three are about 2.4 sigma of Gaussian noise).
        min_share: Least size of a patch as a share of the picture: 230 pixels of the
            grid are a person some eight metres from a lens of 100 degrees.
        same_texture: From this correlation with the background on, a patch is the
            background in another light; something in front of it correlates little.
        scene_share: From this share of changed pixels on, the scene itself is another
            (a lamp, night mode, a moved camera), and it is learned at once.
        learn_s: Time constant of the background: daylight changes more slowly.
        learn_changed_s: The same where something is, so that who lingers is not soon
            painted into the background; a car that parks there is, within minutes.
        learn_liveliness_s: Time constant of the liveliness: a swaying branch shows its
            range in a few seconds. What stands still is tolerated as soon: the rule
            reports motion, not presence.
        confirm_looks: Looks in a row that must see something: rain drops and insects
            rarely stay for two.
        hold_s: Motion lasts this long after the last confirmed look, so that one pause
            in a stride does not end it.
    """

    zone: Zone = EVERYWHERE
    min_change: float = 12.0
    liveliness_factor: float = 3.0
    min_share: float = 0.004
    same_texture: float = 0.8
    scene_share: float = 0.5
    learn_s: float = 10.0
    learn_changed_s: float = 40.0
    learn_liveliness_s: float = 5.0
    confirm_looks: int = 2
    hold_s: float = 0.6


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the grid, from its upper left corner."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True, slots=True)
class Motion:
    """The decision about one frame.

    Attributes:
        is_moving: Something moves in the zone.
        score: Size of the largest moving patch, 0 to 1; 0.5 is the least that counts.
        box: Where it is, or was last; None while nothing moves.
    """

    is_moving: bool
    score: float
    box: Box | None


NO_MOTION: Final = Motion(is_moving=False, score=0.0, box=None)


@dataclass(frozen=True, slots=True, eq=False)
class _Learned:
    background: NDArray[np.float32]
    liveliness: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class MotionState:
    """What the rule remembers between frames; nobody changes it.

    Attributes:
        zone: (height, width) uint8, 1 inside; None before the first frame.
        learned: None before the first frame.
        looked_us: When a frame was last analysed.
        looks: How many looks in a row have seen something.
        until_us: Motion lasts until then.
        motion: The last decision.
    """

    zone: NDArray[np.uint8] | None = None
    learned: _Learned | None = None
    looked_us: int = 0
    looks: int = 0
    until_us: int = 0
    motion: Motion = NO_MOTION


@dataclass(frozen=True, slots=True)
class _Patch:
    share: float
    box: Box | None


_NO_PATCH: Final = _Patch(0.0, None)


@dataclass(frozen=True, slots=True)
class MotionRule:
    """Decides for each frame whether something moves."""

    settings: MotionSettings = field(default_factory=MotionSettings)

    def start(self) -> MotionState:
        """Return the state before the first frame."""
        return MotionState()

    def feed(
        self, state: MotionState, luma: NDArray[np.uint8], at_us: int
    ) -> tuple[MotionState, Motion]:
        """Return the next state and the decision.

        Args:
            state: From `start` or from the frame before.
            luma: (height, width) uint8, the same size each time; only read.
            at_us: Monotonic time, 0 or later. A frame too soon after the last look is not analysed
                and repeats the decision.
        """
        if state.learned is not None and at_us - state.looked_us < _LOOK_EVERY_US:
            return state, state.motion
        now = np.asarray(cv2.blur(luma, (_BLUR_PX, _BLUR_PX)), np.float32)
        if state.learned is None or state.zone is None:
            height, width = luma.shape
            learned = _Learned(now, np.full_like(now, _START_LIVELINESS))
            zone = self.settings.zone.mask(width, height)
            return replace(state, zone=zone, learned=learned, looked_us=at_us), NO_MOTION
        step_s = min((at_us - state.looked_us) / 1e6, _MAX_STEP_S)
        learned, patch = self._look(state.learned, state.zone, now, step_s)
        return self._decide(replace(state, learned=learned, looked_us=at_us), patch)

    def _look(
        self, old: _Learned, zone: NDArray[np.uint8], now: NDArray[np.float32], step_s: float
    ) -> tuple[_Learned, _Patch]:
        """Return what is learned from a frame, and its largest moving patch."""
        change = np.abs(now - old.background)
        threshold = np.maximum(
            self.settings.min_change, self.settings.liveliness_factor * old.liveliness
        )
        raw = (change > threshold).astype(np.uint8)
        changed = np.asarray(cv2.morphologyEx(raw, cv2.MORPH_OPEN, _SPECK), np.uint8)
        if changed.mean() > self.settings.scene_share:
            return _Learned(now, old.liveliness), _NO_PATCH
        patch = self._largest_patch(changed & zone, old.background, now)
        return self._learn(old, now, change, changed, step_s), patch

    def _largest_patch(
        self, changed: NDArray[np.uint8], background: NDArray[np.float32], now: NDArray[np.float32]
    ) -> _Patch:
        """Return the largest patch that does not merely show the background lit anew."""
        _, _, patches, _ = cv2.connectedComponentsWithStats(changed, connectivity=8)
        by_size = sorted(patches[1:].tolist(), key=lambda patch: -patch[cv2.CC_STAT_AREA])
        for x, y, w, h, area in by_size:
            share = area / changed.size
            there = (slice(y, y + h), slice(x, x + w))
            is_big = share >= self.settings.min_share
            if is_big and _likeness(background[there], now[there]) >= self.settings.same_texture:
                continue
            return _Patch(share, Box(x, y, w, h))
        return _NO_PATCH

    def _learn(
        self,
        old: _Learned,
        now: NDArray[np.float32],
        change: NDArray[np.float32],
        changed: NDArray[np.uint8],
        step_s: float,
    ) -> _Learned:
        slow, fast = step_s / self.settings.learn_changed_s, step_s / self.settings.learn_s
        rate = np.where(changed, np.float32(slow), np.float32(fast))
        lively = np.float32(step_s / self.settings.learn_liveliness_s)
        return _Learned(
            background=old.background + rate * (now - old.background),
            liveliness=old.liveliness + lively * (change - old.liveliness),
        )

    def _decide(self, state: MotionState, patch: _Patch) -> tuple[MotionState, Motion]:
        """Return the decision that follows from one look's patch."""
        is_seen = patch.share >= self.settings.min_share
        looks = state.looks + 1 if is_seen else 0
        until_us = state.until_us
        if looks >= self.settings.confirm_looks:
            until_us = state.looked_us + round(self.settings.hold_s * 1e6)
        score = patch.share / (patch.share + self.settings.min_share)
        motion = Motion(is_moving=False, score=score, box=None)
        if state.looked_us < until_us:
            box = patch.box if is_seen else state.motion.box
            motion = Motion(is_moving=True, score=score, box=box)
        return replace(state, looks=looks, until_us=until_us, motion=motion), motion


def _likeness(background: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """Return the normalised correlation of two patches, -1 to 1; 0 when one is flat."""
    one, other = background - background.mean(), now - now.mean()
    # One is a rounding error of luma squared: it keeps flat patches from dividing by 0.
    norm = math.sqrt(float((one * one).sum()) * float((other * other).sum())) + 1.0
    return float((one * other).sum()) / norm
