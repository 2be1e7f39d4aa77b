"""The fault lab: the real stack, real doorbells, and everything that goes wrong with them."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from doorstep_shared.errors import DoorstepError, RefusedError, TryLaterError
from doorstep_simulator.chaos_audit import Finding, Harm, Kept, Promised, audit
from doorstep_simulator.chaos_bell import LabBell
from doorstep_simulator.chaos_blow import Blow, Hands
from doorstep_simulator.chaos_course import ClipMark, Course, Strike
from doorstep_simulator.chaos_evidence import (
    check_clips,
    holds_unsent,
    list_events,
    list_spool,
    read_bucket,
    read_rows,
    read_waiting,
)
from doorstep_simulator.chaos_picture import draw_course
from doorstep_simulator.chaos_plan import STORE_DEEDS, Deed, Fault, Plan, Victim
from doorstep_simulator.doorbell import Wiring
from doorstep_simulator.env import OWNER_FOLDER
from doorstep_simulator.faulty_store import FaultyStore
from doorstep_simulator.folder import hold
from doorstep_simulator.owner import Owner
from doorstep_simulator.playback import Film
from doorstep_simulator.stack import Ports, Stack
from doorstep_simulator.telling import Telling, counting, spoken
from doorstep_simulator.tools import find_program

BELLS: Final = 3
# A ring's clip, fifteen seconds long, is over in four; small pictures leave the time for it.
SPEED: Final = 4.0
WIDTH_PX: Final = 320
FIRST_SCENE: Final = 7
# Hardly scripted: what follows is a quiet street, where somebody comes now and then.
SCENE_S: Final = 1.0

PROGRAMS: Final = ("mosquitto", "weed", "doorstep-cloud")
MAX_RECOVERY_S: Final = 8.0
"""A killed process that is missed for longer is told to be; it is no loss."""

_START_S: Final = 60.0
_WELL_S: Final = 120.0
# A doorbell that got no answer asks again after a minute at most.
_STUCK_S: Final = 180.0
_PATIENCE_S: Final = 20.0
_LOOK_S: Final = 0.02


class LabFailedError(TryLaterError):
    """The lab did not come to its end, so nothing is known."""


class PromiseBrokenError(RefusedError):
    """The audit found something."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        course: What was done, and how it was taken.
        findings: What the audit found; none, if every promise was kept.
    """

    course: Course
    findings: Sequence[Finding]

    def count(self, harm: Harm) -> int:
        """Return how much was found of one harm."""
        return sum(finding.harm is harm for finding in self.findings)

    def to_json(self) -> dict[str, object]:
        """Return the object that ``--json`` prints."""
        plan = self.course.plan
        return {
            "seed": plan.seed,
            "plan": plan.to_json(),
            "faults": [strike.to_json() for strike in self.course.strikes],
            "findings": [f"{finding.harm.value}: {finding.what}" for finding in self.findings],
            "length_s": round(self.course.length_s, 1),
            "stray": self.count(Harm.STRAY),
            "altered": self.count(Harm.ALTERED),
            "clips": len(self.course.clips),
            "kills": len(self.course.kills),
            "lost": self.count(Harm.LOST),
            "doubled": self.count(Harm.DOUBLED),
            "recovery_s_max": round(self.course.recovery_s_max, 2),
        }


def run_chaos(plan: Plan, folder: Path, picture: Path | None, tell: Telling) -> Outcome:
    """Do to the stack what ``plan`` says, then hold every doorbell's book against the service.

    Everything it started has ended on return, and on every error. Its folder is removed,
    unless something was found: then the logs in it are needed.

    Args:
        plan: What to do.
        folder: Everything lives there; emptied first.
        picture: Where the timeline goes, SVG; None for nowhere.
        tell: Told every fault.

    Raises:
        DoorstepError: A program is missing, or the stack did not come up or recover.
    """
    for program in PROGRAMS:
        find_program(program)
    lock = folder.with_name(f"{folder.name}.lock")
    with hold(folder, lock, do="wait until that one is done, or end it with Ctrl-C"):
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        try:
            outcome = _run(plan, folder, tell)
        except DoorstepError:
            tell(f"what was written so far is kept: {spoken(folder)}")
            raise
        except KeyboardInterrupt:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_text(draw_course(outcome.course), encoding="utf-8")
            tell(f"timeline: {spoken(picture)}")
        if outcome.findings:
            tell(f"everything it wrote is kept: {spoken(folder)}")
        else:
            shutil.rmtree(folder)
    return outcome


def check_promises(outcome: Outcome, folder: Path) -> None:
    """Return if the audit found nothing.

    Raises:
        PromiseBrokenError: It did.
    """
    if outcome.findings:
        count = len(outcome.findings)
        many = "1 promise was" if count == 1 else f"{count} promises were"
        raise PromiseBrokenError(
            f"{many} broken; the first: {outcome.findings[0].what}",
            safe=f"Cards, databases, bucket and logs are as the run left them, in {folder}.",
            do=f"ls {folder / 'logs'}        (the same seed strikes the same blows again)",
        )


def _run(plan: Plan, folder: Path, tell: Telling) -> Outcome:
    ports = Ports.draw()
    with FaultyStore(ports.store.s3) as way, ExitStack() as running:
        stack = Stack(folder, ports=ports, store_endpoint=way.endpoint, tell=tell)
        running.enter_context(stack)
        owner = Owner(folder / OWNER_FOLDER)
        owner.found_household(stack.ports.api_url, stack.invite())
        bells = [_add_bell(number, owner, stack) for number in range(plan.bells)]
        tell(f"{plan.bells} doorbells enrolled, {SPEED:g} times as fast as the world")
        running.callback(_switch_off, bells)
        course = Lab(plan, stack, way, bells, tell).run()
        tell("audit: every clip is fetched, checked and opened with the household's keys")
        with counting("Opening") as progress:
            clips = check_clips(owner, progress)
        kept = Kept(list_events(owner), clips, read_bucket(stack), spool=_spool(stack))
        for bell in bells:
            for trouble in bell.book.troubles:
                tell(f"doorbell {bell.number + 1} said: {trouble}", "yellow")
        running.close()  # what rests in the files is read when nobody writes them
        kept = replace(kept, rows=read_rows(stack.cloud_folder))
        return Outcome(course, audit(_promised(bells), kept))


def _spool(stack: Stack) -> tuple[str, ...]:
    """Return what the spool holds, once what was just stored has had the time to go."""
    give_up_at = time.monotonic() + 5
    while (left := list_spool(stack.cloud_folder)) and time.monotonic() < give_up_at:
        time.sleep(_LOOK_S)
    return left


def _promised(bells: Sequence[LabBell]) -> Promised:
    return Promised(
        noticed={event for bell in bells for event in bell.book.noticed},
        events={event for bell in bells for event in bell.book.kept},
        clips={clip for bell in bells for clip in bell.book.finished},
        waiting={name: what for bell in bells for name, what in read_waiting(bell.card).items()},
    )


def _add_bell(number: int, owner: Owner, stack: Stack) -> LabBell:
    card = stack.folder / f"doorbell-{number + 1}"
    owner.add_doorbell(card)
    wiring = Wiring(
        state=card,
        broker_host="127.0.0.1",
        broker_port=stack.ports.broker,
        film=Film(seed=FIRST_SCENE + number, length_s=SCENE_S, width_px=WIDTH_PX),
        log=stack.log(card.name),
        speed=SPEED,
    )
    return LabBell(number, wiring)


def _switch_off(bells: Sequence[LabBell]) -> None:
    for bell in bells:
        bell.doorbell.stop()


class Lab:
    """One run of a plan."""

    def __init__(
        self,
        plan: Plan,
        stack: Stack,
        way: FaultyStore,
        bells: Sequence[LabBell],
        tell: Telling,
    ) -> None:
        """Take everything in hand; the doorbells are off."""
        self._plan = plan
        self._stack = stack
        self._bells = bells
        self._hands = Hands(stack, way, bells)
        self._tell = tell
        self._began_s = 0.0
        self._left = list(plan.faults)
        self._struck_s = 0.0
        self._open: list[Blow] = []
        self._strikes: list[Strike] = []

    def run(self) -> Course:
        """Return what happened, when every card is empty of what the service does not have.

        Raises:
            LabFailedError: Something did not come up, or was not well again in time.
        """
        self._switch_on()
        self._began_s = self._struck_s = time.monotonic()
        with self._progress() as show:
            while not self._is_done():
                self._look()
                show()
                time.sleep(_LOOK_S)
        self._tell("the last clips are delivered")
        self._deliver_the_rest()
        return self._course()

    def _look(self) -> None:
        """Press what is to be pressed, end what is over, strike what is due."""
        for bell in self._bells:
            bell.press_if_due(is_asked=any(blow.asks(bell) for blow in self._open))
        now_s = time.monotonic()
        for blow in tuple(self._open):
            if blow.is_over(now_s):
                self._open.remove(blow)
                self._strikes.append(blow.strike(self._began_s))
                self._say_well(self._strikes[-1])
            elif now_s - blow.at_s > _WELL_S:
                raise self._failed(f"{blow.fault.words}: not well again after {_WELL_S:.0f} s")
        if self._left and self._is_due(self._left[0], now_s):
            self._strike(self._left.pop(0))

    def _is_due(self, fault: Fault, now_s: float) -> bool:
        if self._recorded < fault.at_clip or now_s - self._struck_s < fault.after_s:
            return False
        if fault.waits and any(blow.fault.deed is Deed.KILL for blow in self._open):
            return False
        if any(is_in_the_way(blow.fault, fault) for blow in self._open):
            return False
        return self._hands.can_strike(fault)

    def _strike(self, fault: Fault) -> None:
        self._tell(fault.words, "bold" if fault.deed is Deed.KILL else "")
        blow = self._hands.strike(fault)
        self._struck_s = blow.at_s
        self._open.append(blow)

    def _say_well(self, strike: Strike) -> None:
        if strike.recovery_s is not None:
            late = strike.recovery_s > MAX_RECOVERY_S
            name = strike.fault.victim.value
            words = f"    the {name} is well again, {strike.recovery_s:.1f} s after the kill"
            self._tell(words, "yellow" if late else "green")

    @property
    def _recorded(self) -> int:
        return sum(len(bell.book.finished) for bell in self._bells)

    def _is_done(self) -> bool:
        return not self._left and not self._open and self._recorded >= self._plan.clips

    def _switch_on(self) -> None:
        for bell in self._bells:
            bell.doorbell.power_on()
        give_up_at = time.monotonic() + _START_S
        while not all(bell.doorbell.door.is_connected for bell in self._bells):
            if time.monotonic() > give_up_at:
                raise self._failed(f"the doorbells did not come up within {_START_S:.0f} s")
            time.sleep(_LOOK_S)

    def _failed(self, fact: str) -> LabFailedError:
        return LabFailedError(
            fact,
            safe="What was written so far is kept.",
            do=f"ls {self._stack.folder / 'logs'}",
        )

    def _deliver_the_rest(self) -> None:
        """Let nobody come any more; return when every card is empty, or nothing moves any more.

        A doorbell killed between an acknowledgement and its word of it never says that word:
        so what counts is what its card holds when it is off.
        """
        moved_s = time.monotonic()
        while time.monotonic() - moved_s < _STUCK_S:
            before = self._delivered
            for bell in self._bells:
                bell.run_quietly()
            self._wait_while_it_moves()
            _switch_off(self._bells)
            if not any(read_waiting(bell.card) for bell in self._bells):
                return
            if self._delivered > before:
                moved_s = time.monotonic()

    def _wait_while_it_moves(self) -> None:
        """Return when all is known to be delivered, or nothing was for a while."""
        delivered, moved_s = self._delivered, time.monotonic()
        while not self._are_settled() and time.monotonic() - moved_s < _PATIENCE_S:
            time.sleep(_LOOK_S)
            if self._delivered > delivered:
                delivered, moved_s = self._delivered, time.monotonic()

    @property
    def _delivered(self) -> int:
        return sum(len(bell.book.acked) + len(bell.book.stored) for bell in self._bells)

    def _are_settled(self) -> bool:
        return all(bell.book.is_settled() and not holds_unsent(bell.card) for bell in self._bells)

    def _course(self) -> Course:
        marks = [
            ClipMark(
                bell.number,
                finished_s - self._began_s,
                None if stored_s is None else stored_s - self._began_s,
            )
            for bell in self._bells
            for finished_s, stored_s in bell.book.clips().values()
        ]
        strikes = sorted(self._strikes, key=lambda strike: strike.at_s)
        return Course(self._plan, strikes, marks, time.monotonic() - self._began_s)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Show how many clips are recorded and how many faults have struck."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        console = self._tell.console
        with Progress(
            *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
        ) as bars:
            clips = bars.add_task("clips", total=self._plan.clips)
            faults = bars.add_task("faults", total=len(self._plan.faults))

            def show() -> None:
                bars.update(clips, completed=min(self._recorded, self._plan.clips))
                bars.update(faults, completed=len(self._plan.faults) - len(self._left))

            yield show


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print what a person wants to know."""
    course = outcome.course
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("killed", "times", "well again after, at most"):
        table.add_column(column, no_wrap=True)
    for victim in Victim:
        times = [kill.recovery_s or 0.0 for kill in course.kills if kill.fault.victim is victim]
        if times:
            table.add_row(victim.value, str(len(times)), f"{max(times):.1f} s")
    console.print(table)
    others = len(course.strikes) - len(course.kills)
    counts = (len(course.clips), "clip"), (len(course.kills), "kill"), (others, "other fault")
    done = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in counts)
    console.print(f"{done} in {course.length_s:.0f} s (seed {course.plan.seed}):")
    verdict = ", ".join(f"{outcome.count(harm)} {harm.value}" for harm in Harm)
    console.print(Text(verdict, "red bold" if outcome.findings else "green bold"))
    for finding in outcome.findings:
        console.print(Text(f"{finding.harm.value}: {finding.what}", "red"), soft_wrap=True)


def is_in_the_way(under_way: Fault, next_one: Fault) -> bool:
    """Return whether a fault has to wait for another: one hand holds the way to the store."""
    if {under_way.deed, next_one.deed} <= STORE_DEEDS:
        return True
    return (under_way.deed, under_way.victim, under_way.bell) == (
        next_one.deed,
        next_one.victim,
        next_one.bell,
    )
