"""The demo: a visitor, a ring, clips; sealed, delivered, opened by anybody's tools."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorstep_shared.errors import DoorstepError
from doorstep_simulator.block import COMMANDS
from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.env import read_exports
from doorstep_simulator.findings import Material, check_ring_clip, gather, report_on
from doorstep_simulator.folder import DOORBELL_FOLDER, hold
from doorstep_simulator.owner import Heard, Listener, Owner
from doorstep_simulator.playback import Film
from doorstep_simulator.proof import open_by_commands
from doorstep_simulator.report import DemoReport, render
from doorstep_simulator.settling import settle
from doorstep_simulator.show import Pace, Show, ShowFailedError, choose_pace
from doorstep_simulator.stack import Stack
from doorstep_simulator.telling import Telling, spoken
from doorstep_simulator.tools import find_program
from doorstep_simulator.words import narrated

PROGRAMS: Final = ("mosquitto", "weed", "doorstep-cloud", "doorstep", "curl", "age")
OPENED_FOLDER: Final = "opened"
_HEARD_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of a demo.

    Attributes:
        folder: Everything of it lives there; emptied first.
        report: Where the report goes.
        film: What is shown.
        speed: Its pace; None chooses one by the film's length.
        keeps_files: Leave the folder as it is at the end.
    """

    folder: Path
    report: Path
    film: Film
    speed: float | None = None
    keeps_files: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a demo.

    Attributes:
        material: What it is made from, the opened clips among it.
        report: What it measured; written to a page too.
        failure: What kept the two commands from opening the clip; None if they did.
    """

    material: Material
    report: DemoReport
    failure: DoorstepError | None


def run_demo(wishes: Wishes, tell: Telling) -> Outcome:
    """Show the film to a doorbell, ring once, open what arrives, and write the report.

    Everything it started has ended on return, and on every error. Its folder, with keys
    and clear video in it, is removed, unless it is to be kept or is needed to see why
    something failed.

    Raises:
        DoorstepError: Something is missing, or did not happen.
    """
    for program in PROGRAMS:
        find_program(program)
    lock = wishes.folder.with_name(f"{wishes.folder.name}.lock")
    with hold(wishes.folder, lock, do="wait until that one is done, or end it with Ctrl-C"):
        _empty(wishes.folder)
        try:
            outcome = _run(wishes, tell)
        except DoorstepError:
            tell(f"what was written so far is kept: {spoken(wishes.folder)}")
            raise
        except KeyboardInterrupt:
            shutil.rmtree(wishes.folder, ignore_errors=True)
            raise
        if wishes.keeps_files:
            tell(f"everything is kept: {spoken(wishes.folder)}")
        else:
            shutil.rmtree(wishes.folder)
    return outcome


def _run(wishes: Wishes, tell: Telling) -> Outcome:
    pace = choose_pace(wishes.film, wishes.speed)
    began_s = tell.passed_s
    with Stack(wishes.folder, tell=tell) as stack:
        stack_ready_s = tell.passed_s - began_s
        owner = settle(stack, tell)
        with _listening(owner, tell) as listener:
            doorbell = Doorbell(_wiring(wishes, stack, pace))
            _tell_film(wishes.film, pace, tell)
            with _switched_on(doorbell), narrated(doorbell, tell):
                _play(doorbell, pace, listener, tell)
            material = gather(doorbell, stack_ready_s, tuple(listener.heard), owner)
        return _prove(wishes, material, tell)


def _play(doorbell: Doorbell, pace: Pace, listener: Listener, tell: Telling) -> None:
    show = Show(doorbell, pace, tell)
    doorbell.power_on()
    show.play()
    if not show.door.events:
        tell("the motion rule saw no motion in this film")
    show.ring()
    show.wait_for_delivery()
    # The listener is another way than the doorbell's own: it may be a little later.
    missing = set(show.door.events) - {one.event.id for one in listener.heard}
    if missing and not listener.wait_for(missing, _HEARD_S):
        raise ShowFailedError(
            "the listener was not told of every event",
            safe="They are stored.",
            do="run the demo again        (KEEP=1 keeps the logs)",
        )


def _prove(wishes: Wishes, material: Material, tell: Telling) -> Outcome:
    """Run the public commands, write the report, and say what came of it."""
    tell("anybody's tools open the newest clip:")
    for command in COMMANDS:
        tell.plain(f"  {command}", "bold")
    failure: DoorstepError | None = None
    try:
        opened = open_by_commands(wishes.folder / OPENED_FOLDER, read_exports(wishes.folder))
        check_ring_clip(material, opened)
        tell(f"clip.mp4: {len(opened):,} bytes, decodes, and begins before the press", "green")
    except DoorstepError as error:
        failure = error
    report = report_on(material, curl_ok=failure is None)
    wishes.report.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    wishes.report.write_text(render(report), encoding="utf-8")
    tell(f"report: {spoken(wishes.report)}")
    return Outcome(material, report, failure)


def _wiring(wishes: Wishes, stack: Stack, pace: Pace) -> Wiring:
    return Wiring(
        state=wishes.folder / DOORBELL_FOLDER,
        broker_host="127.0.0.1",
        broker_port=stack.ports.broker,
        film=wishes.film,
        log=stack.log("doorbell"),
        showing=pace.showing,
        speed=pace.speed,
    )


def _tell_film(film: Film, pace: Pace, tell: Telling) -> None:
    name = film.video.name if film.video else f"the rendered doorstep, seed {film.seed}"
    pace_words = "in real time" if pace.speed == 1 else f"{pace.speed:.3g} times as fast"
    tell(f"film: {name}, {film.length_s:.0f} s, {pace_words}")
    if film.video is not None and pace.showing.longest_s < film.length_s:
        tell(f"only its first {pace.showing.longest_s:.0f} s are shown (SPEED=n shows all of it)")


@contextmanager
def _switched_on(doorbell: Doorbell) -> Iterator[None]:
    try:
        yield
    finally:
        doorbell.stop()


@contextmanager
def _listening(owner: Owner, tell: Telling) -> Iterator[Listener]:
    def say(heard: Heard) -> None:
        tell(f"{heard.event.kind.value}: your listener is told")

    listener = Listener(owner, say)
    try:
        if not listener.wait_until_open():
            raise ShowFailedError(
                "the service does not let the owner listen",
                safe="Nothing was recorded yet.",
                do="run the demo again        (KEEP=1 keeps the logs)",
            )
        yield listener
    finally:
        listener.end()


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
