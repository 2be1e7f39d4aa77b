"""The panel in a terminal of 80 by 24, operated as a person would."""

import io
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.pilot import Pilot

from doorstep_client.clips import ClipItem, EventItem
from doorstep_client.errors import ServiceUnreachableError
from doorstep_simulator.block import BLOCK, ENV_LINE
from doorstep_simulator.door import Door
from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.facts import Fact
from doorstep_simulator.panel import Guide, Panel, clip_line, operate, signs_of, spoken_waiting
from doorstep_simulator.playback import Film
from doorstep_simulator.telling import Telling

SIZE = (80, 24)
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLIP = ClipItem.model_validate(
    {
        "id": "01a202d7-b47e-70c0-99fa-42ebdacb74a8",
        "device": "db-gpnhuhhf47anprbrzv4h26fpwa",
        "kind": "ring",
        "events": ["01a202d8-25c6-7b33-a36f-c7a02ff933c1"],
        "started_at": NOON,
        "ended_at": NOON,
        "duration_s": 14.2,
        "pre_roll_s": 6.0,
        "part": 1,
        "is_last": True,
        "is_truncated": False,
        "state": "stored",
        "stored_at": NOON,
        "objects": {},
    }
)
EVENT = EventItem.model_validate(
    {
        "id": "01a202d8-25c6-7b33-a36f-c7a02ff933c1",
        "kind": "motion",
        "device": "db-gpnhuhhf47anprbrzv4h26fpwa",
        "at": NOON,
        "received_at": NOON,
        "clock_synced": True,
        "alert": "now",
        "is_missed": False,
        "clip": CLIP.id,
    }
)


class Books:
    """What a service lists."""

    def __init__(self, clips: Sequence[ClipItem] = (), events: Sequence[EventItem] = ()) -> None:
        self._clips = clips
        self._events = events
        self.is_away = False

    def clips(self, limit: int) -> Sequence[ClipItem]:
        if self.is_away:
            raise ServiceUnreachableError("nobody answers")
        return self._clips[:limit]

    def events(self, *, limit: int) -> Sequence[EventItem]:
        return self._events[:limit]


class Bell(Doorbell):
    """A doorbell whose hands only note what they did."""

    def __init__(self) -> None:
        super().__init__(Wiring(Path("card"), "127.0.0.1", 1, Film(), Path("log")))
        self.done: list[str] = []
        self.has_power = True

    @property
    def is_on(self) -> bool:
        return self.has_power

    def power_on(self) -> None:
        self.has_power = True
        self.done.append("power on")

    def cut_power(self) -> None:
        self.has_power = False
        self.done.append("power off")

    def _send(self, command: str) -> None:
        self.done.append(command)

    def say(self, event: str, **details: str) -> None:
        self.facts.add(Fact(event, time.monotonic(), 0, dict(details)))


def text_of(app: Panel) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def shown(pilot: Pilot[None], app: Panel, words: str) -> str:
    """Return the screen once it shows ``words``."""
    for _ in range(200):
        if words in (text := text_of(app)):
            return text
        await pilot.pause(0.02)
    raise AssertionError(f"{words!r} is not in\n{text_of(app)}")


def panel_of(bell: Bell, books: Books | None = None) -> Panel:
    return Panel(bell, Guide("http://127.0.0.1:8080", "a clip is stored", books or Books()))


async def test_enter_space_and_a_click_press_the_button() -> None:
    bell = Bell()
    async with panel_of(bell).run_test(size=SIZE) as pilot:
        await pilot.press("enter")
        await pilot.press("space")
        await pilot.click("#bell")
    assert bell.done == ["press"] * 3


async def test_n_cuts_the_network_and_mends_it() -> None:
    bell = Bell()
    app = panel_of(bell)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("n")
        bell.say("network", state="off")
        await shown(pilot, app, "Network  CUT")
        await pilot.press("n")
    assert bell.done == ["network off", "network on"]


async def test_p_cuts_the_power_and_restores_it() -> None:
    bell = Bell()
    app = panel_of(bell)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("p")
        await app.workers.wait_for_complete()
        await pilot.press("p")
        await app.workers.wait_for_complete()
    assert bell.done == ["power off", "power on"]


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
async def test_q_and_control_c_quit(key: str) -> None:
    app = panel_of(Bell())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(key)
        await pilot.pause()
        assert not app.is_running


async def test_everything_there_is_to_know_fits_eighty_columns() -> None:
    bell = Bell()
    app = panel_of(bell, Books([CLIP] * 20, [EVENT]))
    bell.say("power_restored")
    bell.say("broker_connected", connection="control")
    for event in range(3):
        bell.say("ring_pressed", event_id=f"e{event}")
    bell.say("event_acked", event_id="e2")
    bell.say("clip_finished", clip_id="c")
    bell.say("light", state="recording")
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, app, "14 s  stored")
        text = await shown(pilot, app, "⏎ Press")
    for words in ("● recording", "ms", "2 events and 1 clip wait", "PRESS", "motion  stored"):
        assert words in text
    for words in ("ready: a clip is stored", "doorstep listen", "Cut network", "Cut power", "Quit"):
        assert words in text
    assert "http://127.0.0.1:8080" in text


async def test_the_panel_shows_the_block_as_a_shell_takes_it() -> None:
    app = panel_of(Bell())
    async with app.run_test(size=SIZE) as pilot:
        text = await shown(pilot, app, ENV_LINE)
    lines = [line.strip() for line in text.splitlines()]
    shown_block = "\n".join(lines[lines.index(ENV_LINE) :])
    for command in BLOCK:
        assert command in shown_block.replace(" |\n", " | ")


async def test_a_small_terminal_keeps_what_the_hands_need() -> None:
    bell = Bell()
    app = panel_of(bell, Books([CLIP]))
    bell.say("power_restored")
    async with app.run_test(size=(50, 15)) as pilot:
        await shown(pilot, app, "14 s  stored")
        text = await shown(pilot, app, "⏎ Press")
    for words in ("PRESS", "ready: a clip", "Outbox   nothing waits", "Events", "Cut power"):
        assert words in text


async def test_a_service_that_is_away_is_not_called_ready() -> None:
    books = Books()
    app = panel_of(Bell(), books)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, app, "ready: a clip is stored")
        books.is_away = True
        app._ask()
        text = await shown(pilot, app, "does not answer")
        assert "ready" not in text


def seen(*facts: tuple[str, float, dict[str, str]]) -> Door:
    door = Door()
    for event, at_s, details in facts:
        door = door.feed(Fact(event, at_s, 0, dict(details)))
    return door


CONTROL = {"connection": "control"}
CONNECTED = seen(("power_restored", 1.0, {}), ("broker_connected", 2.0, CONTROL))


def sign(door: Door, name: str, now_s: float = 0.0) -> str:
    return next(sign.text for sign in signs_of(door, now_s) if sign.name == name)


def test_while_the_broker_is_sought_the_seconds_are_counted() -> None:
    assert sign(seen(("power_restored", 1.0, {})), "Network", 4.0) == "trying again… 3 s"
    assert sign(CONNECTED, "Network", 4.0) == "connected"
    lost = CONNECTED.feed(Fact("broker_lost", 10.0, 0, dict(CONTROL)))
    assert sign(lost, "Network", 17.0) == "trying again… 7 s"
    cut = lost.feed(Fact("network", 20.0, 0, {"state": "off"}))
    assert sign(cut, "Network", 25.0) == "CUT"
    assert sign(cut.feed(Fact("network", 30.0, 0, {"state": "on"})), "Network", 43.0) == (
        "trying again… 13 s"
    )


def test_an_outbox_without_power_is_not_called_empty() -> None:
    assert sign(CONNECTED, "Outbox") == "nothing waits"
    off = CONNECTED.feed(Fact("power_cut", 3.0))
    assert (sign(off, "Outbox"), sign(off, "Network")) == ("power is off", "no power")
    waiting = CONNECTED.feed(Fact("clip_finished", 3.0, 0, {"clip_id": "c"}))
    assert sign(waiting, "Outbox") == "1 clip waits"
    assert sign(waiting.feed(Fact("power_cut", 4.0)), "Outbox") == "power is off: 1 clip waits"
    stored = waiting.feed(Fact("clip_stored", 4.0, 0, {"clip_id": "c"}))
    assert sign(stored, "Outbox") == "all stored; copies stay until room is needed"


@pytest.mark.parametrize(
    ("events", "clips", "said"),
    [
        (0, 0, ""),
        (1, 0, "1 event waits"),
        (0, 1, "1 clip waits"),
        (2, 0, "2 events wait"),
        (1, 1, "1 event and 1 clip wait"),
        (0, 3, "3 clips wait"),
    ],
)
def test_what_waits_is_counted_as_people_do(events: int, clips: int, said: str) -> None:
    assert spoken_waiting(events, clips) == said


def test_a_clip_that_a_power_cut_ended_is_called_cut_short() -> None:
    assert clip_line(CLIP).endswith("14 s  stored")
    assert clip_line(CLIP.model_copy(update={"is_truncated": True})).endswith("stored, cut short")


async def test_an_event_of_this_run_is_listed_once_and_long_waits_in_seconds() -> None:
    bell = Bell()
    app = panel_of(bell, Books(events=[EVENT]))
    bell.facts.add(Fact("motion_began", 1.0, int(NOON.timestamp() * 1000), {"event_id": EVENT.id}))
    bell.facts.add(Fact("event_acked", 30.01, 0, {"event_id": EVENT.id}))
    async with app.run_test(size=SIZE) as pilot:
        text = await shown(pilot, app, "motion  stored in 29.0 s")
        await app.workers.wait_for_complete()
        await pilot.pause(0.2)
        text = text_of(app)
    assert text.count("motion") == 1


async def test_trouble_is_shown() -> None:
    bell = Bell()
    app = panel_of(bell)
    bell.say("camera_failed", reason="no picture")
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, app, "the camera failed: no picture")


async def test_without_the_owners_keys_the_doorbells_own_clips_are_listed() -> None:
    bell = Bell()
    app = Panel(bell, Guide("http://127.0.0.1:8080"))
    bell.say("clip_finished", clip_id="01a202d7-b47e-70c0")
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, app, "01a202d7-b47e…  waiting")


def test_without_a_terminal_lines_are_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    bell = Bell()
    lines = ["press", "network off", "network  on", "power off", "power on", "dance", "", "quit"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*lines, "press\n"])))
    told: list[str] = []

    class Told(Telling):
        def __call__(self, text: str, style: str = "") -> None:
            del style
            told.append(text)

    operate(bell, Guide("http://127.0.0.1:8080"), Told())
    assert bell.done == ["press", "network off", "network on", "power off", "power on"]
    assert "button pressed" in told
    assert "there is no command 'dance'" in told
