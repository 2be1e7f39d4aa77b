"""The motion rule beside OpenCV's MOG2 and plain differencing: cost, and what it buys.

Everyone looks at the same frames, those the camera port would hand out: (180, 320) luma, at
most ten a second. Between two looks a decision stands. The peers are what people write first:
3 x 3 opening, then an alert above 0.2 % of changed pixels, settings untouched.

Set DOORSTEP_FOOTAGE to a folder with NAME.mp4, NAME.json (fps) and NAME.truth.csv to measure
on labelled footage; the rendered scene stands in for it.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from doorstep_device.adapters.capture import FRAME_EVERY_US, small_luma
from doorstep_device.adapters.video import VideoFile
from doorstep_device.ports.camera import Frame
from doorstep_device.rules.motion import MotionRule
from doorstep_simulator.scene import Scene
from tests.benchmarks.figures import Figure
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.score import Score, Truth, read_truth, score_alerts
from tests.benchmarks.table import Better, Row

RUNS = 3
SCENE_SEEDS = (7, 8)
SCENE_S = 40.0

_ALERT_SHARE = 0.002
_LEAST_CHANGE = 25
_FOREGROUND = 255  # MOG2 marks shadows with less
_SPECK = np.ones((3, 3), np.uint8)


class Detector(Protocol):
    """Decides on one frame after another, from its first one."""

    def look(self, frame: Frame) -> bool:
        """Return whether something moves."""
        ...


class OurRule:
    def __init__(self) -> None:
        self._rule = MotionRule()
        self._state = self._rule.start()

    def look(self, frame: Frame) -> bool:
        self._state, motion = self._rule.feed(self._state, frame.luma, frame.at_us)
        return motion.is_moving


class Mog2:
    def __init__(self) -> None:
        self._model = cv2.createBackgroundSubtractorMOG2()

    def look(self, frame: Frame) -> bool:
        return _is_alert(np.asarray(self._model.apply(frame.luma)) == _FOREGROUND)


class Differencing:
    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None

    def look(self, frame: Frame) -> bool:
        last, self._last = self._last, frame.luma
        return last is not None and _is_alert(cv2.absdiff(frame.luma, last) > _LEAST_CHANGE)


PEERS: dict[str, tuple[str, Callable[[], Detector]]] = {
    "mog2": ("OpenCV MOG2", Mog2),
    "absdiff": ("absdiff of two frames", Differencing),
}
SIDES: dict[str, Callable[[], Detector]] = {
    "ours": OurRule,
    **{name: make for name, (_, make) in PEERS.items()},
}


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A labelled clip.

    Attributes:
        truth: A label for each frame of the video.
        shown: For each of them, the look that was newest.
        looks: What a detector sees.
    """

    fps: float
    truth: list[Truth]
    shown: list[int]
    looks: list[Frame]


class Trial:
    """What one side did: CPU in each turn, and its score, the same in each turn."""

    def __init__(self) -> None:
        self.cpu_s = [0.0] * RUNS
        self.score = Score()


def _is_alert(changed: NDArray[np.bool_]) -> bool:
    opened = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_OPEN, _SPECK)
    return bool(cv2.countNonZero(opened) > _ALERT_SHARE * opened.size)


def _make_clip(frames: Iterable[Frame], fps: float, truth: list[Truth]) -> Clip:
    looks: list[Frame] = []
    shown: list[int] = []
    for frame in frames:
        if not looks or frame.at_us - looks[-1].at_us >= FRAME_EVERY_US:
            looks.append(frame)
        shown.append(len(looks) - 1)
    return Clip(fps, truth, shown, looks)


def _footage(folder: Path) -> Iterator[Clip]:
    for video in sorted(folder.glob("*.mp4")):
        fps = json.loads(video.with_suffix(".json").read_text())["fps"]
        with VideoFile(video) as file:
            yield _make_clip(file.frames(), fps, read_truth(video.with_suffix(".truth.csv")))


def _scenes() -> Iterator[Clip]:
    for seed in SCENE_SEEDS:
        scene = Scene(seed, SCENE_S, width_px=640, height_px=360)
        numbers = range(scene.frame_count)
        frames = (
            Frame(small_luma(scene.frame(i)), round(i * 1_000_000 / scene.fps)) for i in numbers
        )
        truth = [Truth(scene.truth(i).label) for i in numbers]
        yield _make_clip(frames, scene.fps, truth)


def _try_once(make: Callable[[], Detector], clip: Clip) -> tuple[float, list[bool]]:
    """Return CPU seconds of all looks, and the decision that stands at each frame."""
    detector = make()
    started_s = time.thread_time()
    decided = [detector.look(frame) for frame in clip.looks]
    return time.thread_time() - started_s, [decided[look] for look in clip.shown]


def _measure(lab: Lab) -> Iterator[Row]:
    cv2.setNumThreads(1)
    folder = os.environ.get("DOORSTEP_FOOTAGE")
    clips = _scenes() if folder is None else _footage(Path(folder))
    trials = {name: Trial() for name in SIDES}
    clip_count = look_count = 0
    for clip in clips:
        clip_count, look_count = clip_count + 1, look_count + len(clip.looks)
        for turn in range(RUNS):
            for name, make in SIDES.items():
                cpu_s, alerts = _try_once(make, clip)
                trials[name].cpu_s[turn] += cpu_s
                if turn == 0:
                    trials[name].score += score_alerts(clip.truth, alerts, clip.fps)
    source = "rendered scenes" if folder is None else "labelled clips"
    lab.tell(f"motion: {clip_count} {source}, {look_count} looks")
    for peer in PEERS:
        yield from _rows(peer, trials, look_count, f"{clip_count} {source}")


def _rows(peer: str, trials: dict[str, Trial], look_count: int, source: str) -> Iterator[Row]:
    title = PEERS[peer][0]
    ours, theirs = trials["ours"], trials[peer]
    mine, other = ours.score, theirs.score

    def row(part: str, what: str, unit: str, better: Better, figures: tuple[Figure, Figure]) -> Row:
        return Row(f"motion-{peer}{part}", what, unit, better, figures[0], title, figures[1])

    def counts(one: float, another: float) -> tuple[Figure, Figure]:
        return Figure((one,)), Figure((another,))

    cost = [Figure(tuple(s * 1000 / look_count for s in t.cpu_s)) for t in (ours, theirs)]
    yield row("", f"motion, {source}: CPU a look", "ms", Better.LESS, (cost[0], cost[1]))
    yield row(
        "-events",
        f"motion: events alerted within 1 s, of {mine.events}",
        "events",
        Better.MORE,
        counts(mine.hits, other.hits),
    )
    yield row(
        "-onsets",
        f"motion: alerts that begin with an event, of {mine.fresh}",
        "events",
        Better.MORE,
        counts(mine.onsets, other.onsets),
    )
    yield row(
        "-empty",
        f"motion: share of {mine.empty_frames} empty frames alerted",
        "share",
        Better.LESS,
        counts(mine.false_share, other.false_share),
    )


PARTS = ("", "-events", "-onsets", "-empty")
BENCHES = (Bench(tuple(f"motion-{peer}{part}" for peer in PEERS for part in PARTS), _measure),)
