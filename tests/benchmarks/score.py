"""How well a motion detector's alerts fit a labelled clip.

An *event* is a run of frames without an empty one that holds movement; the frames
around the movement that nobody could label belong to it. A detector *hits* an event by
an alert from up to a second of such frames before its start until a second after. It
has an *onset* when its alert also begins there, which an always-on detector never does.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class Truth(IntEnum):
    """What a person saw in a frame."""

    UNSURE = -1
    EMPTY = 0
    MOVING = 1


@dataclass(frozen=True, slots=True)
class Event:
    """Frames `[begin, end)`, of which the movement is in `[first, last]`."""

    begin: int
    end: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Score:
    """Counts over one clip, or over several when added.

    Attributes:
        events: Labelled events.
        hits: Of these, alerted within a second.
        fresh: Events after labelled empty frames.
        onsets: Of these, with an alert that began within a second.
        empty_frames: Labelled empty frames.
        false_frames: Of these, alerted.
        moving_frames: Labelled moving frames.
        true_frames: Of these, alerted.
    """

    events: int = 0
    hits: int = 0
    fresh: int = 0
    onsets: int = 0
    empty_frames: int = 0
    false_frames: int = 0
    moving_frames: int = 0
    true_frames: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            *(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__)
        )

    @property
    def false_share(self) -> float:
        """Share of the empty frames that were alerted, 0 to 1."""
        return self.false_frames / self.empty_frames if self.empty_frames else 0.0

    @property
    def f1(self) -> float:
        """F1 over the labelled frames, 0 to 1."""
        right = 2 * self.true_frames
        wrong = self.false_frames + self.moving_frames - self.true_frames
        return right / (right + wrong) if right + wrong else 1.0


def score_alerts(
    truth: Sequence[Truth], alerts: Sequence[bool], fps: float, warm_frames: int = 10
) -> Score:
    """Return the score of one clip.

    Args:
        truth: One label for each frame.
        alerts: One decision for each frame.
        fps: Frames per second.
        warm_frames: The first frames are not scored: a detector may look around.
    """
    labels = [Truth.UNSURE] * min(warm_frames, len(truth)) + list(truth[warm_frames:])
    events = find_events(labels)
    second = round(fps)
    fresh = [event for event in events if event.begin > 0]
    empty = [alert for label, alert in zip(labels, alerts, strict=True) if label is Truth.EMPTY]
    moving = [alert for label, alert in zip(labels, alerts, strict=True) if label is Truth.MOVING]
    return Score(
        events=len(events),
        hits=sum(any(alerts[i] for i in _start_frames(event, second)) for event in events),
        fresh=len(fresh),
        onsets=sum(
            any(alerts[i] and not alerts[i - 1] for i in _start_frames(event, second))
            for event in fresh
        ),
        empty_frames=len(empty),
        false_frames=sum(empty),
        moving_frames=len(moving),
        true_frames=sum(moving),
    )


def find_events(labels: Sequence[Truth]) -> list[Event]:
    """Return the events in order."""
    events = []
    begin = 0
    for end in [*(i for i, label in enumerate(labels) if label is Truth.EMPTY), len(labels)]:
        moving = [i for i in range(begin, end) if labels[i] is Truth.MOVING]
        if moving:
            events.append(Event(begin, end, moving[0], moving[-1]))
        begin = end + 1
    return events


def read_truth(path: Path) -> list[Truth]:
    """Return the labels of a `frame,moving` table."""
    with path.open(newline="", encoding="utf-8") as table:
        return [Truth(int(row["moving"])) for row in csv.DictReader(table)]


def read_alerts(path: Path) -> list[bool]:
    """Return the decisions of a `frame,motion,…` table."""
    with path.open(newline="", encoding="utf-8") as table:
        return [row["motion"] == "1" for row in csv.DictReader(table)]


def _start_frames(event: Event, second: int) -> range:
    """Return the frames in which an alert is in time."""
    earliest = max(event.begin, event.first - second)
    return range(earliest, min(event.first + second, event.last) + 1)
