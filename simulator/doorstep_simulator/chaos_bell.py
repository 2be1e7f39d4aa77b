"""One doorbell of a fault lab: a hand on its button, and a book of what it has said."""

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from doorstep_device.rules.press import SAME_VISIT_US
from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.facts import Fact
from doorstep_simulator.playback import Film

# For the finger in the other process: sooner would be the same visit.
_FINGER_S: Final = 0.25
# A visit now and then that lasts: the next press waits this much longer than it must.
_BREATH_S: Final = 0.4
# Pictures of an empty doorstep: nobody comes before the last clip is delivered.
_NOBODY: Final = Film(seed=7, length_s=1, width_px=320)


class Book:
    """What a doorbell has said, over all its runs; times are monotonic seconds.

    Attributes:
        noticed: Rings and motions, kept or not.
        kept: Events durable on its card.
        acked: Events that it knows the service to have.
        finished: Clips complete on its card, or told of by a later run.
        stored: Clips for all of which it has receipts.
        uploaded_s: When the service last confirmed an object.
        on_s: When it was switched on last, and said so itself; None while it starts.
        troubles: What it said of things that should not happen.
    """

    def __init__(self) -> None:
        self.noticed: Final[dict[str, float]] = {}
        self.kept: Final[dict[str, float]] = {}
        self.acked: Final[dict[str, float]] = {}
        self.finished: Final[dict[str, float]] = {}
        self.stored: Final[dict[str, float]] = {}
        self.uploaded_s = 0.0
        self.on_s: float | None = None
        self.troubles: Final[list[str]] = []
        self._lock = threading.Lock()

    def hear(self, fact: Fact) -> None:
        """Write down a fact."""
        with self._lock:
            self._write(fact)

    def has_kept(self, since_s: float) -> bool:
        """Return whether an event after ``since_s`` is durable on its card."""
        with self._lock:
            return any(kept_s > since_s for kept_s in self.kept.values())

    def first_acked_s(self, kept_since_s: float, acked_since_s: float = 0.0) -> float | None:
        """Return when the first event after one moment was acknowledged after another."""
        with self._lock:
            acked = (
                self.acked[event]
                for event, kept_s in self.kept.items()
                if kept_s > kept_since_s and self.acked.get(event, 0.0) > acked_since_s
            )
            return min(acked, default=None)

    def is_settled(self) -> bool:
        """Return whether all it has told of is known to be at the service."""
        with self._lock:
            return self.kept.keys() <= self.acked.keys() and self.finished.keys() <= (
                self.stored.keys()
            )

    def clips(self) -> Mapping[str, tuple[float, float | None]]:
        """Return every clip: when it was finished, and when it was stored."""
        with self._lock:
            return {clip: (at_s, self.stored.get(clip)) for clip, at_s in self.finished.items()}

    def _write(self, fact: Fact) -> None:
        at_s = fact.arrived_s
        match fact.event:
            case "agent_started":
                self.on_s = at_s
            case "power_restored" | "power_cut" | "doorbell_stopped":
                self.on_s = None
            case "ring_pressed" | "motion_began":
                self.noticed.setdefault(fact.text("event_id"), at_s)
            case "event_stored":
                self.kept.setdefault(fact.text("event_id"), at_s)
            case "event_acked":
                self.acked.setdefault(fact.text("event_id"), at_s)
            case "clip_finished" | "clip_announced":
                self.finished.setdefault(fact.text("clip_id"), at_s)
            case "clip_stored":
                self.finished.setdefault(fact.text("clip_id"), at_s)
                self.stored.setdefault(fact.text("clip_id"), at_s)
            case "object_uploaded":
                self.uploaded_s = at_s
            case "part_crashed" | "unreadable_kept" | "clip_unreadable" | "object_refused":
                self.troubles.append(f"{fact.event} {fact.text('reason')}".strip())
            case _:
                pass


class LabBell:
    """A doorbell with somebody at its button.

    Attributes:
        number: Which, from 0.
        doorbell: It.
        book: What it has said.
    """

    def __init__(self, number: int, wiring: Wiring) -> None:
        """Switch nothing on yet."""
        self.number: Final = number
        self.doorbell: Final = Doorbell(wiring)
        self.book: Final = Book()
        self.doorbell.facts.hear(self.book.hear)
        self._pressed_s = 0.0

    @property
    def card(self) -> Path:
        """Return the folder that is its card."""
        return self.doorbell.wiring.state

    def press_if_due(self, *, is_asked: bool) -> None:
        """Press the button if a visitor would: nobody is being recorded, or all wait for a ring.

        Args:
            is_asked: Press as soon as it makes a ring of its own, recording or not.
        """
        if self.book.on_s is None:
            return
        gap_s = SAME_VISIT_US / 1e6 / self.doorbell.wiring.speed + _FINGER_S
        if not is_asked:
            if self.doorbell.door.is_recording:
                return
            gap_s += _BREATH_S
        now_s = time.monotonic()
        if now_s - self._pressed_s >= gap_s:
            self._pressed_s = now_s
            self.doorbell.press()

    def run_quietly(self) -> None:
        """Switch it off in order and on again before an empty doorstep, by a true clock."""
        self.doorbell.stop()
        self.doorbell.wiring = replace(self.doorbell.wiring, film=_NOBODY, speed=1)
        self.doorbell.power_on()
