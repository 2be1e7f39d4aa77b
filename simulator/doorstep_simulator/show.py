"""The show: a film before a doorbell, followed as it happens, and one ring after it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from rich.progress import BarColumn, Progress, TextColumn

from doorstep_shared.errors import TryLaterError
from doorstep_simulator.door import Door
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.facts import Fact
from doorstep_simulator.playback import Film, Showing
from doorstep_simulator.telling import Telling, spoken

HOLD_FIRST_S: Final = 8.0
HOLD_LAST_S: Final = 15.0
# Longer, if motion lasts to the end of the film: the ring waits, and gets its post-roll.
SPARE_S: Final = 45.0
SHOWN_S: Final = 120.0
"""What is shown takes about this long at most, unless a pace is asked for."""

MOST_SPEED: Final = 8.0
"""More pictures a second than this asks for, a laptop does not encode."""

_START_S: Final = 30.0
_RING_S: Final = 15.0
_DELIVERY_S: Final = 60.0
# A machine in use by others shows a film slower than in real time.
_PATIENCE: Final = 5.0
_LOOK_S: Final = 0.25


class ShowFailedError(TryLaterError):
    """Something that should have happened at the door did not."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a film is shown.

    Attributes:
        speed: Seconds of film per second.
        showing: Its quiet before and after, and where it is cut off.
        shown_s: Length of what is shown until the ring, quiet before it included.
    """

    speed: float
    showing: Showing
    shown_s: float


def choose_pace(film: Film, speed: float | None) -> Pace:
    """Return how to show ``film``: in real time, unless that takes too long.

    Args:
        film: A scene has its own quiet before and after.
        speed: As wished; None chooses one, and cuts off a film that is too long even so.
    """
    if film.video is None:
        return Pace(speed or max(1.0, film.length_s / SHOWN_S), Showing(), film.length_s)
    quiet_s = HOLD_FIRST_S + HOLD_LAST_S
    pace = speed or min(MOST_SPEED, max(1.0, (film.length_s + quiet_s) / SHOWN_S))
    longest_s = film.length_s if speed else min(film.length_s, SHOWN_S * pace - quiet_s)
    showing = Showing(HOLD_FIRST_S, HOLD_LAST_S + SPARE_S, longest_s)
    return Pace(pace, showing, HOLD_FIRST_S + longest_s)


class Show:
    """A film shown to a doorbell that is switched on.

    Attributes:
        doorbell: The one.
    """

    def __init__(self, doorbell: Doorbell, pace: Pace, tell: Telling) -> None:
        self.doorbell: Final = doorbell
        self._pace = pace
        self._tell = tell

    @property
    def door(self) -> Door:
        """Return the door as it stands."""
        return self.doorbell.door

    def play(self) -> None:
        """Return when the film has been shown to its end.

        Raises:
            ShowFailedError: The doorbell does not film, or stopped.
        """
        self._wait(
            lambda: self.doorbell.filmed_s > 0, _START_S, "the doorbell's camera did not start"
        )
        with self._progress() as show:
            deadline_s = _START_S + _PATIENCE * self._pace.shown_s / self._pace.speed
            give_up_at = time.monotonic() + deadline_s
            while not self.door.is_film_over:
                self._check()
                if time.monotonic() > give_up_at:
                    raise self._failed("the film did not come to its end")
                show(self.doorbell.filmed_s)
                self.doorbell.facts.wait_until(lambda: self.door.is_film_over, _LOOK_S)
            show(self._pace.shown_s)

    def ring(self) -> Fact:
        """Press the button once nothing moves and no clip is recorded; return the press.

        Motion that does not end is not waited for: the ring then joins its clip.

        Raises:
            ShowFailedError: The service does not have the ring.
        """
        patience_s = (SPARE_S - HOLD_LAST_S) / self._pace.speed + _RING_S
        self.doorbell.facts.wait_until(
            lambda: not self.door.is_moving and not self.door.is_recording, patience_s
        )
        pressed = self.doorbell.press()
        self._wait(
            lambda: any(e.kind == "ring" and e.acked_s for e in self.door.events.values()),
            _RING_S,
            "the ring was not acknowledged by the service",
        )
        return pressed

    def wait_for_delivery(self) -> None:
        """Return when every event and clip is acknowledged as stored.

        Raises:
            ShowFailedError: One is not.
        """
        recording_s = _RING_S / self._pace.speed * _PATIENCE
        self._wait(lambda: self.door.is_recording, _RING_S, "the ring is not recorded")
        self._wait(
            lambda: not self.door.is_recording, recording_s, "the recording does not come to an end"
        )
        self._wait(
            lambda: self.door.waiting_clips == self.door.waiting_events == 0,
            _DELIVERY_S,
            "not every clip was acknowledged by the service",
        )
        if "refused" in self.door.clips.values():
            raise self._failed("the service refused a clip")

    def _wait(self, is_there: Callable[[], bool], timeout_s: float, missing: str) -> None:
        self.doorbell.facts.wait_until(lambda: is_there() or self._has_stopped, timeout_s)
        self._check()
        if not is_there():
            raise self._failed(missing)

    @property
    def _has_stopped(self) -> bool:
        return self.doorbell.facts.first("doorbell_stopped") is not None

    def _check(self) -> None:
        if self._has_stopped:
            raise self._failed("the doorbell stopped by itself")

    def _failed(self, fact: str) -> ShowFailedError:
        if self.door.trouble:
            fact = f"{fact} ({self.door.trouble})"
        return ShowFailedError(
            fact,
            safe="What it recorded is on its card.",
            do=f"tail {spoken(self.doorbell.wiring.log)}        (says why)",
        )

    @contextmanager
    def _progress(self) -> Iterator[Callable[[float], None]]:
        """Show how far the film is: a bar on a terminal, a line now and then elsewhere."""
        console = self._tell.console
        columns = (TextColumn("         film"), BarColumn(), TextColumn("{task.fields[at]}"))
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_interactive
        ) as bar:
            task = bar.add_task("film", total=self._pace.shown_s, at="")

            def show(at_s: float) -> None:
                at_s = min(at_s, self._pace.shown_s)
                bar.update(task, completed=at_s, at=f"{at_s:.0f} of {self._pace.shown_s:.0f} s")

            yield show
