"""The ``doorstep-device`` command: what runs on the doorbell."""

import asyncio
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.disk import FolderDisk, held
from doorstep_device.adapters.gpio import GpioPanel
from doorstep_device.adapters.process import forbid_core_dumps
from doorstep_device.adapters.progress import show_progress
from doorstep_device.adapters.service import post_enrolment
from doorstep_device.adapters.source import camera_maker
from doorstep_device.adapters.video import VideoFile, is_address
from doorstep_device.bootstrap import DeviceSettings, build_agent, read_settings
from doorstep_device.enrolment import enrol as enrol_by_claim
from doorstep_device.facts import configure_facts
from doorstep_device.household import NotAddedYetError, check_added
from doorstep_device.identity import read_enrolment, read_keys
from doorstep_device.motion_report import check_place, write_motion_csv
from doorstep_device.ports.camera import Camera
from doorstep_device.ports.panel import NoPinsError
from doorstep_device.rules.motion import MotionRule, MotionSettings
from doorstep_device.rules.zones import EVERYWHERE, Zone, parse_zone
from doorstep_hardware.pins import read_pins
from doorstep_shared.counting import many
from doorstep_shared.errors import DoorstepError, RefusedError
from doorstep_shared.terminal import plain

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The doorbell's own agent. It seals what it records before it touches the card.",
)
stderr = Console(stderr=True, highlight=False)

# A few minutes of video, and the room the agent keeps for rings.
LEAST_FREE_BYTES: Final = 256_000_000

StateDir = Annotated[
    Path | None,
    typer.Option("--state", help="Folder of this doorbell; DOORSTEP_DEVICE_STATE_DIR otherwise."),
]


@app.command()
def run(
    *,
    video: Annotated[
        str | None,
        typer.Option(
            "--video",
            metavar="SOURCE",
            help="Its camera: /dev/video0, rtsp://…, or a file to play in place of one; "
            "DOORSTEP_DEVICE_VIDEO otherwise, which no list of processes shows.",
        ),
    ] = None,
    state: StateDir = None,
) -> None:
    """Run the doorbell until it is told to stop."""
    forbid_core_dumps()
    settings = _settings(state)
    configure_facts(as_json=not sys.stdout.isatty())
    with held(settings.state_dir):
        asyncio.run(_run(settings, video))


@app.command()
def motion(
    video: Annotated[Path, typer.Argument(help="Any video file.")],
    csv: Annotated[Path, typer.Option("--csv", help="Where the table goes.")],
    *,
    zone: Annotated[
        str, typer.Option("--zone", help="Where motion counts: corners in shares of the picture.")
    ] = str(EVERYWHERE),
    force: Annotated[bool, typer.Option("--force", help="Replace a table that is there.")] = False,
) -> None:
    """Write what the motion rule says of every frame of a video."""
    rule = MotionRule(MotionSettings(zone=_zone(zone)))
    check_place(video, csv, may_replace=force)
    with VideoFile(video) as footage, show_progress("Watching") as progress:
        summary = write_motion_csv(footage, csv, rule, progress)
    _say(
        f"{summary.frames} frames, {summary.moving_frames} of them with motion, "
        f"{many(summary.events, 'event')}: {csv}"
    )


@app.command()
def enrol(
    claim: Annotated[
        str, typer.Argument(help="The claim your owner's computer printed, or - for stdin.")
    ],
    *,
    state: StateDir = None,
) -> None:
    """Join the household that printed the claim."""
    text = sys.stdin.read() if claim == "-" else claim
    folder = _settings(state).state_dir
    disk = FolderDisk(folder)
    with held(folder):
        enrolment = enrol_by_claim(disk, text, post_enrolment, secrets.token_bytes)
    _say(f"This doorbell ({read_keys(disk).public.device}) has answered at {enrolment.url}.")
    _say("It records once your owner's computer has added it (doorstep device add).")


@app.command()
def check(*, state: StateDir = None) -> None:
    """Say whether this doorbell could run, and what to do where it could not."""
    settings = _settings(state)
    failed = 0
    for name, examine in _checks(settings):
        try:
            _say(f"ok    {name}: {examine()}")
        except DoorstepError as error:
            is_waiting = isinstance(error, NotAddedYetError)
            failed += not is_waiting
            _say(f"{'WAIT' if is_waiting else 'NOT '}  {name}: {error.fact}")
            if error.do:
                _say(f"      Do: {error.do}")
    if failed:
        raise typer.Exit(1)


def main() -> None:
    """Run the command; exit 0 done, 1 failed, 2 usage."""
    try:
        app(prog_name="doorstep-device")
    except DoorstepError as error:
        _say(f"doorstep-device: {error.fact.rstrip('.')}.")
        if error.safe:
            _say(error.safe)
        if error.do:
            _say(f"Do: {error.do}")
        raise SystemExit(1) from error


async def _run(settings: DeviceSettings, video: str | None) -> None:
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    make_camera: Callable[[], Camera] | None = None
    if video is None and settings.video is not None:
        video = settings.video.get_secret_value()
    if video is not None:
        make_camera = camera_maker(video, clock)
    try:
        panel = GpioPanel(read_pins(), clock, loop)
    except NoPinsError as error:
        do = f"run it on a Raspberry Pi; or, here: {_simulated(settings.state_dir, video)}"
        raise NoPinsError(error.fact, safe=error.safe, do=do) from error
    agent = build_agent(settings=settings, panel=panel, make_camera=make_camera, clock=clock)
    running = asyncio.ensure_future(agent.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


def _simulated(state_dir: Path, video: str | None) -> str:
    """Return the command that runs this doorbell on simulated pins."""
    words = ["doorstep-sim", "doorbell", str(state_dir.absolute())]
    if video is not None and is_address(video):
        words += ["--source", "ADDRESS"]  # there may be a password in it
    elif video is not None:
        words += ["--source", video if video.startswith("/dev/") else f"video:{video}"]
    return shlex.join(words)


def _zone(text: str) -> Zone:
    try:
        return parse_zone(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--zone") from error


def _settings(state: Path | None) -> DeviceSettings:
    """Return the settings, with the doorbell's folder made if it was missing."""
    settings = read_settings(state)
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RefusedError(
            f"the folder {settings.state_dir} cannot be made ({error.strerror})",
            do="doorstep-device … --state FOLDER        (one that you can write in)",
        ) from error
    return settings


def _checks(settings: DeviceSettings) -> Iterator[tuple[str, Callable[[], str]]]:
    disk = FolderDisk(settings.state_dir)

    def card() -> str:
        disk.write_whole("check", b"")
        disk.remove("check")
        free_bytes = disk.free_bytes()
        if free_bytes < LEAST_FREE_BYTES:
            raise RefusedError(
                f"only {free_bytes / 1e6:.0f} MB are free in {settings.state_dir}: rings are kept "
                "and sent, clips soon cannot be",
                do="remove what is not Doorstep's, or give it a larger card; then: "
                "doorstep-device check",
            )
        return f"writes, {free_bytes / 1e9:.1f} GB free"

    def belongs() -> str:
        keys, enrolment = read_keys(disk).public, read_enrolment(disk)
        check_added(disk, enrolment.root, keys)
        return f"doorbell {keys.device} of the household at {enrolment.url}"

    def broker() -> str:
        enrolment = read_enrolment(disk)
        address = (enrolment.broker_host, enrolment.broker_port)
        try:
            socket.create_connection(address, timeout=5).close()
        except OSError as error:
            raise RefusedError(
                f"the broker at {address[0]}:{address[1]} does not answer ({error.strerror})",
                do="look at the network; clips wait on the card meanwhile",
            ) from error
        return f"answers at {address[0]}:{address[1]}"

    def time_is() -> str:
        return "set by NTP" if SystemClock().is_synced() else "not set from outside yet; goes on"

    yield "card", card
    yield "household", belongs
    yield "broker", broker
    yield "clock", time_is


def _say(text: str) -> None:
    stderr.print(plain(text), soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
