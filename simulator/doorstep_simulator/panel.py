"""The panel: a doorbell in a terminal, with a button to press and cables to pull."""

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import methodcaller
from typing import ClassVar, Final

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Footer, Header, Static

from doorstep_client.clips import ClipItem
from doorstep_client.output import STATE_WORDS
from doorstep_shared.errors import DoorstepError
from doorstep_simulator.block import ENV_LINE
from doorstep_simulator.door import Door, SeenEvent
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.interrupts import calling
from doorstep_simulator.telling import Telling
from doorstep_simulator.words import narrated

LOOK_EVERY_S: Final = 0.1
ASK_EVERY_S: Final = 2.0
ROWS: Final = 9
LINES: Final = (ENV_LINE, "doorstep listen", "doorstep clip save")
"""What to type in another terminal."""

ReadClips = Callable[[], Sequence[ClipItem]]
"""Asks the service for the newest clips, as their owner."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A lamp of the panel.

    Attributes:
        name: What it is about.
        text: How it stands.
        colour: Of the text.
    """

    name: str
    text: str
    colour: str


def signs_of(door: Door) -> tuple[Sign, ...]:
    """Return how power, light, network and outbox stand."""
    return (
        Sign("Power", "on", "green") if door.is_on else Sign("Power", "OFF", "red"),
        Sign("Light", "● recording", "red") if door.is_recording else Sign("Light", "○ off", "dim"),
        _network_sign(door),
        _outbox_sign(door),
    )


def event_line(event: SeenEvent) -> str:
    """Return one event as the panel lists it."""
    took = "waits" if event.took_ms is None else f"stored in {event.took_ms:.0f} ms"
    at = datetime.fromtimestamp(event.at_ms / 1000).astimezone()
    return f"{at:%H:%M:%S}  {event.kind:<6}  {took}"


def clip_line(clip: ClipItem) -> str:
    """Return one clip as the panel lists it."""
    at = clip.started_at.astimezone()
    return (
        f"{at:%H:%M:%S}  {clip.kind.value:<6}  {clip.duration_s:3.0f} s  {STATE_WORDS[clip.state]}"
    )


def _network_sign(door: Door) -> Sign:
    if door.is_cut:
        return Sign("Network", "CUT", "red")
    if door.is_connected:
        return Sign("Network", "connected", "green")
    return Sign("Network", "not connected", "yellow")


def _outbox_sign(door: Door) -> Sign:
    events, clips = door.waiting_events, door.waiting_clips
    if events == clips == 0:
        return Sign("Outbox", "empty", "green")
    return Sign("Outbox", f"{events} events, {clips} clips wait", "yellow")


def operate(doorbell: Doorbell, api: str, read_clips: ReadClips | None, tell: Telling) -> None:
    """Hand the doorbell to the person at the terminal until they quit.

    Without a terminal, each line of stdin is a command, and its end is not a goodbye.
    """
    if sys.stdin.isatty() and sys.stdout.isatty():
        Panel(doorbell, api, read_clips).run_until_signal()
    else:
        with narrated(doorbell, tell):
            _obey_lines(doorbell, tell)


def _obey_lines(doorbell: Doorbell, tell: Telling) -> None:
    tell(f"commands, one a line: {', '.join(_COMMANDS)}, quit; Ctrl-C ends too")
    has_quit = threading.Event()

    def read() -> None:
        for line in sys.stdin:
            word = " ".join(line.split())
            if word in {"q", "quit"}:
                has_quit.set()
                return
            if (command := _COMMANDS.get(word)) is not None:
                command(doorbell)
            elif word:
                tell(f"there is no command {word!r}")

    threading.Thread(target=read, name="commands", daemon=True).start()
    with suppress(KeyboardInterrupt):  # as good a goodbye as any
        has_quit.wait()


_COMMANDS: Final[Mapping[str, Callable[[Doorbell], object]]] = {
    "press": methodcaller("press"),
    "network off": methodcaller("cut_network"),
    "network on": methodcaller("mend_network"),
    "power off": methodcaller("cut_power"),
    "power on": methodcaller("power_on"),
}


class Panel(App[None]):
    """The doorbell at the wall, its cables, and what became of its rings."""

    TITLE = "Doorstep"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #top { height: 7; }
    #bell { width: 24; height: 5; margin: 1 1 0 1; text-style: bold; }
    #signs { width: 1fr; margin: 1 0 0 1; height: 5; }
    #lists { height: 1fr; }
    #events, #clips { width: 1fr; padding: 0 1; }
    #trouble { height: auto; color: $error; padding: 0 1; }
    #type { height: 4; padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", "Press", priority=True),
        Binding("n", "network", "Network cut/on"),
        Binding("p", "power", "Power cut/on"),
        Binding("q,ctrl+c", "quit", "Quit", priority=True),
    ]

    def __init__(self, doorbell: Doorbell, api: str, read_clips: ReadClips | None) -> None:
        """Show ``doorbell``.

        Args:
            doorbell: Switched on already, or not.
            api: Address of the service.
            read_clips: Called in a thread; None when the owner's keys are elsewhere.
        """
        super().__init__()
        self._doorbell = doorbell
        self._api = api
        self._read_clips = read_clips
        self._clips: Sequence[ClipItem] = ()
        # Held here: the last look may come when the screen has already gone.
        self._places = {name: Static(id=name) for name in ("signs", "events", "clips", "trouble")}

    def run_until_signal(self) -> None:
        """Run until the person quits, or the process is told to end."""

        async def run() -> None:
            loop = asyncio.get_running_loop()
            with calling(lambda: loop.call_soon_threadsafe(self.exit)):
                await self.run_async()

        asyncio.run(run())

    def compose(self) -> ComposeResult:
        """Yield the widgets."""
        yield Header()
        with Horizontal(id="top"):
            yield Button("( ● )\n\nPRESS", id="bell", variant="primary")
            yield self._places["signs"]
        with Horizontal(id="lists"):
            yield self._places["events"]
            yield self._places["clips"]
        yield self._places["trouble"]
        yield Static(
            "In another terminal:\n" + "\n".join(f"  {line}" for line in LINES),
            id="type",
            markup=False,
        )
        yield Footer()

    def on_mount(self) -> None:
        """Follow the doorbell from now on."""
        self.sub_title = self._api
        self.set_interval(LOOK_EVERY_S, self._show)
        self.set_interval(ASK_EVERY_S, self._ask)
        self._show()
        self._ask()

    def on_button_pressed(self) -> None:
        """Press the doorbell's button by a click."""
        self.action_press()

    def action_press(self) -> None:
        """Press the doorbell's button."""
        self._doorbell.press()

    def action_network(self) -> None:
        """Cut the network, or mend it."""
        if self._doorbell.is_offline:
            self._doorbell.mend_network()
        else:
            self._doorbell.cut_network()

    def action_power(self) -> None:
        """Cut the power, or restore it; off the screen's loop, since both take a moment."""
        switch = self._doorbell.cut_power if self._doorbell.is_on else self._doorbell.power_on
        self.run_worker(switch, thread=True, exclusive=True, group="power")

    @work(thread=True, exclusive=True, group="clips")
    def _ask(self) -> None:
        """Ask the service for the newest clips; it may be away for a while."""
        if self._read_clips is not None:
            with suppress(DoorstepError):
                self._clips = tuple(self._read_clips())

    def _show(self) -> None:
        door = self._doorbell.door
        signs = Text()
        for sign in signs_of(door):
            signs.append(f"{sign.name:<9}", "dim").append(f"{sign.text}\n", sign.colour)
        self._set("signs", signs)
        self._set("events", _listed("Events", [event_line(e) for e in _newest(door)]))
        self._set("clips", _listed("Clips", self._clip_lines(door)))
        self._set("trouble", Text(door.trouble))

    def _clip_lines(self, door: Door) -> list[str]:
        if self._read_clips is not None:
            return [clip_line(clip) for clip in self._clips[:ROWS]]
        newest = list(door.clips.items())[: -ROWS - 1 : -1]
        return [f"{clip[:13]}…  {state}" for clip, state in newest]

    def _set(self, name: str, content: Text) -> None:
        self._places[name].update(content)


def _newest(door: Door) -> list[SeenEvent]:
    return list(door.events.values())[: -ROWS - 1 : -1]


def _listed(title: str, lines: Sequence[str]) -> Text:
    return Text.assemble((f"{title}\n", "bold"), "\n".join(lines) or "none yet")
