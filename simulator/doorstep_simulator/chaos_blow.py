"""A fault at work: how it is done, when its own doing is over, when all is well again."""

import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from doorstep_simulator.chaos_bell import LabBell
from doorstep_simulator.chaos_course import Strike
from doorstep_simulator.chaos_plan import STORE_DEEDS, Deed, Fault, Victim
from doorstep_simulator.faulty_store import FaultyStore, StoreTrouble
from doorstep_simulator.processes import Supervised
from doorstep_simulator.stack import Stack


class Blow(Protocol):
    """A fault that has struck and is not over.

    Attributes:
        fault: Which.
        at_s: When it struck, monotonic.
    """

    fault: Fault
    at_s: float

    def is_over(self, now_s: float) -> bool:
        """Return whether nothing of it is left, ending what is to be ended."""
        ...

    def asks(self, bell: LabBell) -> bool:
        """Return whether a ring at ``bell`` would show that it is over."""
        ...

    def strike(self, began_s: float) -> Strike:
        """Return what came of it, in a run that began then; it is over."""
        ...


class Hands:
    """What reaches everything that faults strike."""

    def __init__(self, stack: Stack, way: FaultyStore, bells: Sequence[LabBell]) -> None:
        self._way = way
        self._bells = bells
        self._processes: Final = {
            Victim.BROKER: stack.broker,
            Victim.SERVICE: stack.cloud,
            Victim.STORE: stack.store,
        }

    def can_strike(self, fault: Fault) -> bool:
        """Return whether there is something to strike: a process may be between two runs."""
        if fault.bell is None:
            return self._processes[fault.victim].is_running
        return self._bells[fault.bell].doorbell.is_on

    def strike(self, fault: Fault) -> Blow:
        """Return ``fault``, done."""
        if fault.deed in STORE_DEEDS:
            self._way.trouble = StoreTrouble[fault.deed.name]
            return _Lasting(fault, self._leave_store_alone)
        if fault.bell is None:
            return self._strike_process(fault, self._processes[fault.victim])
        return _strike_bell(fault, self._bells[fault.bell])

    def _strike_process(self, fault: Fault, process: Supervised) -> Blow:
        if fault.deed is Deed.STALL:
            process.signal(signal.SIGSTOP)
            return _Lasting(fault, lambda: process.signal(signal.SIGCONT))
        return _KilledProcess(fault, process, self._bells)

    def _leave_store_alone(self) -> None:
        self._way.trouble = None


def _strike_bell(fault: Fault, bell: LabBell) -> Blow:
    doorbell = bell.doorbell
    match fault.deed:
        case Deed.KILL:
            return _KilledAgent(fault, bell)
        case Deed.STALL:
            doorbell.signal(signal.SIGSTOP)
            return _Lasting(fault, lambda: doorbell.signal(signal.SIGCONT))
        case Deed.CUT_LINE:
            doorbell.cut_network()
            return _Lasting(fault, doorbell.mend_network)
        case Deed.STEP_CLOCK:
            doorbell.step_clock(fault.step_s)
            return _Lasting(fault, _nothing)
        case Deed.FILL_CARD:
            doorbell.fill_card()
            return _Lasting(fault, doorbell.free_card)
        case _:
            raise ValueError(f"nobody can do this to a doorbell: {fault.deed.value}")


def _nothing() -> None:
    """Undo what is done and over."""


class _Lasting(Blow):
    """Something that is undone after its time."""

    def __init__(self, fault: Fault, undo: Callable[[], object]) -> None:
        self.fault = fault
        self.at_s = time.monotonic()
        self._undo = undo
        self._over_s = self.at_s

    def is_over(self, now_s: float) -> bool:
        if now_s < self.at_s + self.fault.lasts_s:
            return False
        self._undo()
        self._over_s = now_s
        return True

    def asks(self, bell: LabBell) -> bool:
        del bell
        return False

    def strike(self, began_s: float) -> Strike:
        return Strike(self.fault, self.at_s - began_s, self._over_s - began_s)


class _Kill(Blow):
    """A process that was killed; over when something after it has gone all the way."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.at_s = time.monotonic()
        self._well_s: float | None = None

    def is_over(self, now_s: float) -> bool:
        del now_s
        self._well_s = self._find_well_s()
        return self._well_s is not None

    def _find_well_s(self) -> float | None:
        """Return when the first thing after the kill was acknowledged; None before."""
        raise NotImplementedError

    def strike(self, began_s: float) -> Strike:
        well_s = None if self._well_s is None else self._well_s - began_s
        return Strike(self.fault, self.at_s - began_s, self.at_s - began_s, well_s)


class _KilledAgent(_Kill):
    """Well again when a ring at the doorbell's next run is acknowledged."""

    def __init__(self, fault: Fault, bell: LabBell) -> None:
        bell.doorbell.signal(signal.SIGKILL)
        super().__init__(fault)
        self._bell = bell

    def _find_well_s(self) -> float | None:
        on_s = self._bell.book.on_s
        if on_s is None or on_s < self.at_s:
            return None
        return self._bell.book.first_acked_s(kept_since_s=on_s)

    def asks(self, bell: LabBell) -> bool:
        return bell is self._bell and not bell.book.has_kept(self.at_s)


class _KilledProcess(_Kill):
    """Well again when it has run anew and a ring after the kill is acknowledged.

    No ring needs the store: there it is an object that the service has stored.
    """

    def __init__(self, fault: Fault, process: Supervised, bells: Sequence[LabBell]) -> None:
        self._restarts = process.restarts
        process.kill()
        super().__init__(fault)
        self._process = process
        self._bells = bells
        self._anew_s: float | None = None

    def _find_well_s(self) -> float | None:
        if self._anew_s is None:
            if self._process.restarts == self._restarts:
                return None
            self._anew_s = time.monotonic()
        return min(filter(None, map(self._well_at, self._bells)), default=None)

    def _well_at(self, bell: LabBell) -> float | None:
        if self._anew_s is None:
            return None
        if self.fault.victim is Victim.STORE:
            return bell.book.uploaded_s if bell.book.uploaded_s > self._anew_s else None
        return bell.book.first_acked_s(kept_since_s=self.at_s, acked_since_s=self._anew_s)

    def asks(self, bell: LabBell) -> bool:
        return self.fault.victim is not Victim.STORE and not bell.book.has_kept(self.at_s)
