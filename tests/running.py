"""The whole product, running: the stack, an owner, and a doorbell in a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from doorstep_client.clips import ClipItem
from doorstep_device.rules.press import SAME_VISIT_US
from doorstep_shared.errors import TryLaterError
from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.facts import Fact
from doorstep_simulator.owner import Owner
from doorstep_simulator.playback import Film
from doorstep_simulator.stack import Stack
from tests.services import wait_until

# A machine with other work to do may take this long for what takes milliseconds.
PATIENCE_S = 45.0
SIMULATOR = Path(sys.executable).parent / "doorstep-sim"
# A clip of fifteen seconds is over in four, and small pictures leave the time to film it.
SPEED = 4.0
WIDTH_PX = 320


def wait_for(is_so: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Return as soon as ``is_so()``; fail after ``within_s``, saying what did not come.

    A service that does not answer just now is one that has not come to it yet.
    """
    wait_until(lambda: _is_so_by_now(is_so), within_s=within_s, what=what)


def simulator(*words: str) -> "subprocess.Popen[str]":
    """Return ``doorstep-sim`` with ``words``, started; a signal to us does not reach it."""
    return subprocess.Popen(
        [str(SIMULATOR), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(process: "subprocess.Popen[str]", within_s: float) -> tuple[str, str]:
    """Return what it said on stdout and stderr; it is ended if it takes too long."""
    try:
        return process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        out, told = process.communicate(timeout=30)
        raise AssertionError(f"{process.args!r} did not end:\n{told}\n{out}") from None


@dataclass(frozen=True, slots=True)
class Home:
    """A household at the stack's service.

    Attributes:
        card: The folder of its one doorbell, enrolled and listed.
        device: That doorbell's id.
    """

    stack: Stack
    owner: Owner
    card: Path
    device: str

    @classmethod
    def found(cls, stack: Stack, folder: Path) -> "Home":
        """Found a household with one doorbell, everything of theirs below ``folder``."""
        owner = found_household(stack, folder)
        return cls(stack, owner, folder / "doorbell", owner.add_doorbell(folder / "doorbell"))

    @contextmanager
    def doorbell(self, *, speed: float = SPEED, width_px: int = WIDTH_PX) -> Iterator[Doorbell]:
        """Switch the doorbell on until the block ends; it films and is connected."""
        wiring = Wiring(
            state=self.card,
            broker_host="127.0.0.1",
            broker_port=self.stack.ports.broker,
            film=Film(seed=7, length_s=600, width_px=width_px),
            log=self.stack.log(f"doorbell-{self.device}"),
            speed=speed,
        )
        bell = Doorbell(wiring)
        try:
            power_on(bell)
            yield bell
        finally:
            bell.stop()

    def clip_of(self, event: str) -> ClipItem | None:
        """Return the clip that recorded ``event``, as the service lists it."""
        return next((clip for clip in self.owner.clips(1000) if event in clip.events), None)

    def wait_until_stored(self, event: str) -> ClipItem:
        """Return the clip of ``event`` once the service has all of it."""
        found: list[ClipItem] = []

        def is_stored() -> bool:
            clip = self.clip_of(event)
            if clip is not None and clip.state == "stored":
                found.append(clip)
            return bool(found)

        wait_for(is_stored, f"a stored clip of {event}")
        return found[0]


def found_household(stack: Stack, folder: Path) -> Owner:
    """Return somebody with a household at the stack's service; their keys are below ``folder``."""
    owner = Owner(folder / "owner")
    owner.found_household(stack.ports.api_url, stack.invite())
    return owner


def power_on(bell: Doorbell) -> None:
    """Switch ``bell`` on; on return its camera films and both its lines stand."""
    before = len(bell.facts.all())
    bell.power_on()
    lines = {"control", "bulk"}

    def is_up() -> bool:
        new = bell.facts.all()[before:]
        up = {fact.text("connection") for fact in new if fact.event == "broker_connected"}
        return up == lines and any(fact.event == "frame_scored" for fact in new)

    wait_for(is_up, "a doorbell that films and is connected")


def ring(bell: Doorbell) -> str:
    """Press the button; return the id of the ring, durable on the doorbell's card."""
    same_visit_s = SAME_VISIT_US / 1e6 / bell.wiring.speed
    known = {fact.text("event_id") for fact in bell.facts.all("ring_pressed")}
    pressed_s = max((fact.arrived_s for fact in bell.facts.all("button_pressed")), default=0.0)
    # Sooner would be the same visit. The margin is for the finger in the other process.
    wait_for(lambda: time.monotonic() - pressed_s > same_visit_s + 0.3, "a new visit")

    def new() -> list[str]:
        stored = bell.facts.all("event_stored")
        ids = [fact.text("event_id") for fact in stored if fact.text("kind") == "ring"]
        return [event for event in ids if event not in known]

    bell.press()
    wait_for(lambda: bool(new()), "a ring")
    return new()[0]


def wait_for_fact(bell: Doorbell, event: str, **details: str) -> Fact:
    """Return the first fact of that kind with these details, as soon as it is told."""
    wait_for(lambda: bell.facts.first(event, **details) is not None, f"{event} {details}")
    fact = bell.facts.first(event, **details)
    assert fact is not None
    return fact


def _is_so_by_now(is_so: Callable[[], bool]) -> bool:
    try:
        return is_so()
    except TryLaterError:
        return False
