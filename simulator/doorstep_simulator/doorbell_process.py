"""The doorbell's own agent on a computer: simulated pins, a film for a camera, a line to cut.

A process of its own, so that a power cut can be SIGKILL. It obeys one-line commands on
stdin (``press``, ``network off``, ``network on``, ``clock SECONDS``, ``card full``, ``card
free``, ``stop``; the end of stdin is a stop too) and says facts on stdout, one JSON object a line.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, cast

import structlog
import typer
from gpiozero.pins.mock import MockFactory, MockPin

from doorstep_device.adapters.clock import PacedClock, SystemClock
from doorstep_device.adapters.disk import FolderDisk, held
from doorstep_device.adapters.gpio import GpioPanel
from doorstep_device.adapters.process import forbid_core_files
from doorstep_device.bootstrap import DeviceSettings, build_agent
from doorstep_device.facts import configure_facts
from doorstep_device.identity import read_enrolment
from doorstep_device.ports.camera import Camera
from doorstep_device.ports.clock import Clock
from doorstep_device.rules.motion import MotionRule
from doorstep_hardware.pins import Pin, read_pins
from doorstep_shared.errors import DoorstepError
from doorstep_simulator.filled_card import FilledCard
from doorstep_simulator.network import Line
from doorstep_simulator.playback import Film, ScoredCamera, Showing, open_camera, parse_film
from doorstep_simulator.stepped_clock import SteppedClock
from doorstep_simulator.telling import say_error

# A finger stays on a bell for about this long; its contact bounces before it settles.
HELD_S: Final = 0.15
BOUNCES: Final = 2
BOUNCE_S: Final = 0.002

log = structlog.get_logger()


class Button:
    """A simulated button and the finger on it."""

    def __init__(self, factory: MockFactory, pin: Pin) -> None:
        self._pin = cast("MockPin", factory.pin(pin.bcm))
        self._is_active_high = pin.is_active_high

    async def press(self) -> None:
        """Press for a moment, with a contact that bounces."""
        self._close(is_closed=True)
        for _ in range(BOUNCES):
            await asyncio.sleep(BOUNCE_S)
            self._close(is_closed=False)
            await asyncio.sleep(BOUNCE_S)
            self._close(is_closed=True)
        await asyncio.sleep(HELD_S)
        self._close(is_closed=False)

    def _close(self, *, is_closed: bool) -> None:
        drive = self._pin.drive_high if is_closed is self._is_active_high else self._pin.drive_low
        drive()


@dataclass(frozen=True, slots=True)
class Order:
    """What to run.

    Attributes:
        state: The doorbell's card, enrolled already.
        broker: Host and port.
        film: Before the camera.
        showing: How a video is shown.
        speed: Seconds of the doorbell's clock per second.
        is_offline: Begin with the network cut.
    """

    state: Path
    broker: tuple[str, int]
    film: Film
    showing: Showing
    speed: float
    is_offline: bool


async def run(order: Order) -> None:
    """Run the doorbell until it is told to stop.

    Raises:
        DoorstepError: It is not enrolled, or its card cannot be read.
    """
    clock = SteppedClock(SystemClock() if order.speed == 1 else PacedClock(order.speed))
    card = FilledCard(order.state)
    loop = asyncio.get_running_loop()
    factory, pins = MockFactory(), read_pins()
    async with Line(*order.broker, is_cut=order.is_offline) as line:
        if line.is_cut:
            _tell_network(line)
        agent = build_agent(
            settings=DeviceSettings(state_dir=order.state),
            panel=GpioPanel(pins, clock, loop, factory),
            make_camera=_camera_maker(order, clock, loop),
            clock=clock,
            broker_address=("127.0.0.1", line.port),
            disk=card,
        )
        button = Button(factory, pins.button)
        async with asyncio.TaskGroup() as tasks, aclosing(_commands()) as commands:
            running = tasks.create_task(agent.run(), name="agent")
            async for command in commands:
                match command.split():
                    case ["press"]:
                        tasks.create_task(button.press(), name="finger")
                    case ["network", "off"]:
                        await line.cut()
                        _tell_network(line)
                    case ["network", "on"]:
                        await line.mend()
                        _tell_network(line)
                    case ["clock", seconds]:
                        clock.step(float(seconds))
                        log.info("clock_stepped", seconds=float(seconds))
                    case ["card", "full" | "free" as state]:
                        card.is_full = state == "full"
                        log.info("card", state=state)
                    case ["stop"]:
                        break
                    case _:
                        log.warning("command_unknown", command=command)
            running.cancel()


def _camera_maker(
    order: Order, clock: Clock, loop: asyncio.AbstractEventLoop
) -> Callable[[], Camera]:
    def tell_over() -> None:
        loop.call_soon_threadsafe(lambda: log.info("film_over"))

    def make() -> Camera:
        camera = open_camera(order.film, clock, order.showing, tell_over)
        return ScoredCamera(camera, clock, MotionRule(), log.info)

    return make


async def _commands() -> AsyncGenerator[str, None]:
    """Yield the lines of stdin until its end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            yield line.decode().strip()
    finally:
        transport.close()


def _tell_network(line: Line) -> None:
    log.info("network", state="off" if line.is_cut else "on")


def main(
    state: Annotated[Path, typer.Option(help="Its card, enrolled already.")],
    broker: Annotated[str, typer.Option(help="HOST:PORT its network leads to.")],
    source: Annotated[str, typer.Option(help="As `parse_film` reads it.")],
    *,
    speed: Annotated[float, typer.Option(help="Pace of its clock.", min=0.01, max=100)] = 1.0,
    hold_first: Annotated[float, typer.Option(help="Seconds of a video's first picture.")] = 0.0,
    hold_last: Annotated[float, typer.Option(help="Seconds of a video's last picture.")] = 0.0,
    longest: Annotated[float, typer.Option(help="At most so many seconds of a video.")] = 1e9,
    offline: Annotated[bool, typer.Option("--offline", help="Begin with a cut network.")] = False,
) -> None:
    """Run one simulated doorbell; a process started by its parent, not by people."""
    # It stays dumpable: the mark of its run, in its environment, is read by the next run.
    forbid_core_files()
    os.umask(0o077)
    configure_facts(as_json=True)
    host, _, port = broker.rpartition(":")
    try:
        showing = Showing(hold_first, hold_last, longest)
        order = Order(state, (host, int(port)), parse_film(source), showing, speed, offline)
        read_enrolment(FolderDisk(state))  # where there is no card there is none to hold
        with held(state):
            asyncio.run(run(order))
    except DoorstepError as error:
        say_error("doorbell", error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    typer.run(main)
