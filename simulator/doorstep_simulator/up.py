"""`up`: the whole service and one doorbell, staying until they are told to go."""

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from doorstep_device.adapters.disk import FolderDisk, held
from doorstep_device.adapters.service import post_enrolment
from doorstep_device.enrolment import enrol
from doorstep_device.identity import Enrolment, NotEnrolledError, read_enrolment
from doorstep_shared.errors import RefusedError, TryLaterError
from doorstep_shared.manifest import ClipKind
from doorstep_simulator.block import BLOCK, ENV_LINE
from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.folder import DOORBELL_FOLDER, hold
from doorstep_simulator.owner import Owner
from doorstep_simulator.panel import Guide, operate
from doorstep_simulator.playback import Film
from doorstep_simulator.settling import settle
from doorstep_simulator.stack import API_PORT, Stack
from doorstep_simulator.telling import Telling, spoken
from doorstep_simulator.tools import find_program
from doorstep_simulator.words import narrated

PROGRAMS: Final = ("mosquitto", "weed", "doorstep-cloud", "curl", "age")
_RING_AFTER_S: Final = 7.0
_START_S: Final = 30.0
_FIRST_CLIP_S: Final = 120.0


class NotReadyError(TryLaterError):
    """The stack runs, but nothing comes through."""


def run_up(folder: Path, film: Film, speed: float, tell: Telling) -> None:
    """Run stack and doorbell until they are told to end; an earlier run is taken up again.

    Args:
        folder: Everything is kept there.
        film: What happens before the doorbell's camera.
        speed: The pace of the doorbell's clock.
        tell: Told what goes on.

    Raises:
        DoorstepError: Something is missing, or does not start.
    """
    for program in PROGRAMS:
        find_program(program)
    in_use = f"{ENV_LINE}        (to use that one; Ctrl-C ends it, where it runs)"
    with hold(folder, folder / "up.lock", do=in_use), Stack(folder, tell=tell) as stack:
        owner = settle(stack, tell)
        doorbell = Doorbell(_wiring(stack, film, speed))
        with _switched_on(doorbell, tell):
            with narrated(doorbell, tell):
                ready = _become_ready(doorbell, owner) + _other_port(stack.ports.api)
                _tell_ready(stack, ready, tell)
            operate(doorbell, Guide(stack.ports.api_url, ready, owner), tell)


def run_doorbell(state: Path, claim: str | None, film: Film, speed: float, tell: Telling) -> None:
    """Run one doorbell until it is told to end, at the service it belongs to.

    Args:
        state: Its card.
        claim: Enrols it first; None if it is.
        film: What happens before its camera.
        speed: The pace of its clock; 1 for a real camera.
        tell: Told what goes on.

    Raises:
        NotEnrolledError: It belongs to nobody, and there is no claim.
        CardInUseError: Another one works on its card.
        DoorstepError: The claim, or the service, does not do.
    """
    if film.camera is not None and speed != 1:
        raise RefusedError(
            "a real camera films at the pace of the world",
            safe="Nothing was started.",
            do="the same command without --speed",
        )
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    disk = FolderDisk(state)
    if claim is not None:
        with held(state):
            enrol(disk, claim, post_enrolment, secrets.token_bytes)
        tell("the doorbell has answered; it records once its owner has added it")
    enrolment = _read_enrolment(state, disk)
    doorbell = Doorbell(
        Wiring(
            state=state,
            broker_host=enrolment.broker_host,
            broker_port=enrolment.broker_port,
            film=film,
            log=state.with_name(f"{state.name}.logs") / "doorbell.log",
            speed=speed,
        )
    )
    with _switched_on(doorbell, tell):
        operate(doorbell, Guide(enrolment.url), tell)


def _read_enrolment(state: Path, disk: FolderDisk) -> Enrolment:
    try:
        return read_enrolment(disk)
    except NotEnrolledError as error:
        again = shlex.join(["doorstep-sim", "doorbell", str(state), "--claim", "-"])
        do = f"doorstep device add        (on your computer), then: {again}"
        raise NotEnrolledError(error.fact, safe=error.safe, do=do) from error


def _become_ready(doorbell: Doorbell, owner: Owner) -> str:
    """Return when a ring's clip is stored, saying which; the first time, one is pressed."""
    facts = doorbell.facts
    if not facts.wait_until(lambda: doorbell.door.is_connected, _START_S):
        raise _not_ready(doorbell, "the doorbell does not reach its broker")
    if _has_ring_clip(owner):
        return "the ring clips of last time are stored"
    if not facts.wait_until(lambda: doorbell.filmed_s >= _RING_AFTER_S, _START_S):
        raise _not_ready(doorbell, "the doorbell's camera shows nothing")
    doorbell.press()
    stored_before = 0

    def is_ring_stored() -> bool:
        nonlocal stored_before
        stored = list(doorbell.door.clips.values()).count("stored")
        is_asked_already, stored_before = stored == stored_before, stored
        return not is_asked_already and _has_ring_clip(owner)

    if not facts.wait_until(is_ring_stored, _FIRST_CLIP_S):
        raise _not_ready(doorbell, "the first ring's clip is not stored")
    return "a first ring's clip is stored"


def _other_port(api: int) -> str:
    """Return why the API is not where the documentation has it; empty if it is there."""
    # Now, or when an earlier run in this folder chose the ports that are kept.
    return "" if api == API_PORT else f"; port {API_PORT} was taken"


def _has_ring_clip(owner: Owner) -> bool:
    return any(clip.kind is ClipKind.RING and clip.state == "stored" for clip in owner.clips())


def _not_ready(doorbell: Doorbell, fact: str) -> NotReadyError:
    return NotReadyError(
        f"{fact} ({doorbell.door.trouble})" if doorbell.door.trouble else fact,
        safe="What was recorded is on the doorbell's card.",
        do=f"tail {spoken(doorbell.wiring.log)}        (says why)",
    )


def _tell_ready(stack: Stack, ready: str, tell: Telling) -> None:
    tell(f"ready: the API is at {stack.ports.api_url}; {ready}", "bold green")
    tell.plain("In another terminal, in this folder:")
    for line in BLOCK:
        tell.plain(f"  {line}", "bold")


def _wiring(stack: Stack, film: Film, speed: float) -> Wiring:
    return Wiring(
        state=stack.folder / DOORBELL_FOLDER,
        broker_host="127.0.0.1",
        broker_port=stack.ports.broker,
        film=film,
        log=stack.log("doorbell"),
        speed=speed,
    )


@contextmanager
def _switched_on(doorbell: Doorbell, tell: Telling) -> Iterator[None]:
    """Have the doorbell on while the block runs, and say that everything ends after it.

    Raises:
        CardInUseError: Another one works on its card.
    """
    with held(doorbell.wiring.state):
        pass  # The doorbell holds it itself; its refusal would be read in its log only.
    try:
        doorbell.power_on()
        yield
    finally:
        tell("ending; what is stored is kept for the next time")
        doorbell.stop()
        tell("doorbell stopped")
