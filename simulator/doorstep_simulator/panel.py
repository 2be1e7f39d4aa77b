"""The panel: a doorbell in a terminal, with a button to press and cables to pull."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter, methodcaller
from typing import ClassVar, Final, Protocol

from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Button, Footer, Header, Static

from doorstep_client.clips import ClipItem, EventItem
from doorstep_client.output import STATE_WORDS
from doorstep_shared.errors import DoorstepError
from doorstep_simulator.block import BLOCK
from doorstep_simulator.door import Door, SeenEvent
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.interrupts import calling
from doorstep_simulator.report import spoken_ms
from doorstep_simulator.telling import Telling
from doorstep_simulator.words import narrated

LOOK_EVERY_S: Final = 0.1
ASK_EVERY_S: Final = 2.0
ROWS: Final = 9
# A command that is wider than eighty columns goes on after its pipe, as a shell lets it: what
# is copied from the panel is what is printed elsewhere.
LINES: Final = tuple(
    line for command in BLOCK for line in command.replace(" | ", " |\n    ").splitlines()
)
"""What to type in another terminal."""

TYPE_THIS: Final = "In another terminal, in this folder (then also: doorstep listen):"


class Books(Protocol):
    """What the owner can look up at the service."""

    def clips(self, limit: int) -> Sequence[ClipItem]:
        """Return the newest clips first.

        Raises:
            DoorstepError: The service cannot be asked now.
        """
        ...

    def events(self, *, limit: int) -> Sequence[EventItem]:
        """Return the newest events first.

        Raises:
            DoorstepError: The service cannot be asked now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Guide:
    """What the person at the panel is told beside the doorbell itself.

    Attributes:
        api: Address of the service.
        ready: What the service is ready with; empty if nobody waited for that.
        books: Asked in a thread; None when the owner's keys are elsewhere.
    """

    api: str
    ready: str = ""
    books: Books | None = None


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


def signs_of(door: Door, now_s: float) -> tuple[Sign, ...]:
    """Return how power, light, network and outbox stand.

    Args:
        door: The door.
        now_s: Monotonic.
    """
    return (
        Sign("Power", "on", "green") if door.is_on else Sign("Power", "OFF", "red"),
        Sign("Light", "● recording", "red") if door.is_recording else Sign("Light", "○ off", "dim"),
        _network_sign(door, now_s),
        _outbox_sign(door),
    )


def event_line(event: SeenEvent) -> str:
    """Return one event as the panel lists it."""
    took = "waits" if event.took_ms is None else f"stored in {spoken_ms(event.took_ms)}"
    at = datetime.fromtimestamp(event.at_ms / 1000).astimezone()
    return f"{at:%H:%M:%S}  {event.kind:<6}  {took}"


def stored_event_line(event: EventItem) -> str:
    """Return one event of an earlier time as the panel lists it."""
    return f"{event.at.astimezone():%H:%M:%S}  {event.kind.value:<6}  stored"


def clip_line(clip: ClipItem) -> str:
    """Return one clip as the panel lists it."""
    at = clip.started_at.astimezone()
    cut = ", cut short" if clip.is_truncated else ""
    state = STATE_WORDS[clip.state]
    return f"{at:%H:%M:%S}  {clip.kind.value:<6}  {clip.duration_s:3.0f} s  {state}{cut}"


def event_lines(door: Door, stored: Sequence[EventItem]) -> list[str]:
    """Return the newest events as the panel lists them, those of earlier runs among them.

    Args:
        door: What this run has seen.
        stored: What the service lists.
    """
    lines = [(event.at_ms / 1000, event_line(event)) for event in door.events.values()]
    lines += [
        (event.at.timestamp(), stored_event_line(event))
        for event in stored
        if event.id not in door.events
    ]
    return [line for _, line in sorted(lines, key=itemgetter(0), reverse=True)[:ROWS]]


def _network_sign(door: Door, now_s: float) -> Sign:
    if door.is_cut:
        return Sign("Network", "CUT", "red")
    if not door.is_on:
        return Sign("Network", "no power", "dim")
    if door.is_connected:
        return Sign("Network", "connected", "green")
    # When the next try comes only the doorbell knows; that it will is what counts.
    return Sign("Network", f"trying again… {now_s - door.seeking_s:.0f} s", "yellow")


def _outbox_sign(door: Door) -> Sign:
    waiting = spoken_waiting(door.waiting_events, door.waiting_clips)
    if not door.is_on:
        return Sign("Outbox", f"power is off{waiting and ': '}{waiting}", "dim")
    if waiting:
        return Sign("Outbox", waiting, "yellow")
    if "stored" in door.clips.values():
        return Sign("Outbox", "all stored; copies stay until room is needed", "green")
    return Sign("Outbox", "nothing waits", "green")


def spoken_waiting(events: int, clips: int) -> str:
    """Return what waits on the card, as a person says it; empty if nothing does."""
    numbers = {"event": events, "clip": clips}
    parts = [f"{n} {what}{'' if n == 1 else 's'}" for what, n in numbers.items() if n]
    verb = "waits" if events + clips == 1 else "wait"
    return f"{' and '.join(parts)} {verb}" if parts else ""


def operate(doorbell: Doorbell, guide: Guide, tell: Telling) -> None:
    """Hand the doorbell to the person at the terminal until they quit.

    Without a terminal, each line of stdin is a command, and its end is not a goodbye.
    """
    if sys.stdin.isatty() and sys.stdout.isatty():
        Panel(doorbell, guide).run_until_signal()
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
    #bell { width: 22; height: 5; margin: 1 1 0 1; text-style: bold; }
    #signs { width: 1fr; margin: 1 0 0 1; height: 5; text-wrap: nowrap; text-overflow: ellipsis; }
    #lists { height: 1fr; }
    #events, #clips { width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #trouble { height: auto; color: $error; padding: 0 1; }
    #type { height: auto; padding: 0 1; color: $text-muted; }
    .-narrow #bell { width: 11; min-width: 11; margin: 1 0 0 0; }
    .-narrow #lists { layout: vertical; }
    .-low Header, .-low #type { display: none; }
    .-low #top { height: 5; }
    .-low #bell, .-low #signs { margin: 0 1 0 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "press", "Press", priority=True),
        Binding("n", "network", "Cut network"),
        Binding("p", "power", "Cut power"),
        Binding("q,ctrl+c", "quit", "Quit", priority=True),
    ]

    def __init__(self, doorbell: Doorbell, guide: Guide) -> None:
        """Show ``doorbell``, switched on already or not."""
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (70, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-low"), (22, "-tall")]
        self._doorbell = doorbell
        self._guide = guide
        self._is_answering = True
        self._clips: Sequence[ClipItem] = ()
        self._events: Sequence[EventItem] = ()
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
        if self._guide.books is not None:
            yield Static("\n".join((TYPE_THIS, *LINES)), id="type", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Follow the doorbell from now on."""
        self.sub_title = self._guide.api
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

    @work(thread=True, exclusive=True, group="books")
    def _ask(self) -> None:
        """Ask the service for the newest clips and events; it may be away for a while."""
        if (books := self._guide.books) is None:
            return
        try:
            self._clips, self._events = books.clips(ROWS), books.events(limit=ROWS)
        except DoorstepError:
            self._is_answering = False
        else:
            self._is_answering = True

    def _show(self) -> None:
        door = self._doorbell.door
        signs = Text()
        for sign in (*self._service_signs(), *signs_of(door, time.monotonic())):
            signs.append(f"{sign.name:<9}", "dim").append(f"{sign.text}\n", sign.colour)
        self._set("signs", signs)
        self._set("events", _listed("Events", event_lines(door, self._events)))
        self._set("clips", _listed("Clips", self._clip_lines(door)))
        self._set("trouble", Text(door.trouble))

    def _service_signs(self) -> tuple[Sign, ...]:
        if not self._guide.ready:
            return ()
        if not self._is_answering:
            return (Sign("Service", "does not answer", "red"),)
        return (Sign("Service", f"ready: {self._guide.ready}", "bold green"),)

    def _clip_lines(self, door: Door) -> list[str]:
        if self._guide.books is not None:
            return [clip_line(clip) for clip in self._clips]
        newest = list(door.clips.items())[: -ROWS - 1 : -1]
        return [f"{clip[:13]}…  {state}" for clip, state in newest]

    def _set(self, name: str, content: Text) -> None:
        self._places[name].update(content)


def _listed(title: str, lines: Sequence[str]) -> Text:
    return Text.assemble((f"{title}\n", "bold"), "\n".join(lines) or "none yet")
