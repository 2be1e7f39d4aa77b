"""The panel in a terminal of 80 by 24, operated as a person would."""

import io
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.pilot import Pilot

from doorstep_client.clips import ClipItem
from doorstep_simulator.block import ENV_LINE
from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.facts import Fact
from doorstep_simulator.panel import Panel, operate
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
        self.facts.add(Fact(event, 0.0, 0, dict(details)))


def text_of(app: Panel) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


async def shown(pilot: Pilot[None], app: Panel, words: str) -> str:
    """Return the screen once it shows ``words``."""
    for _ in range(200):
        if words in (text := text_of(app)):
            return text
        await pilot.pause(0.02)
    raise AssertionError(f"{words!r} is not in\n{text_of(app)}")


def panel_of(bell: Bell, clips: Sequence[ClipItem] = ()) -> Panel:
    return Panel(bell, "http://127.0.0.1:8080", lambda: clips)


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
    app = panel_of(bell, [CLIP] * 20)
    for event in range(20):
        bell.say("ring_pressed", event_id=f"e{event}")
    bell.say("event_acked", event_id="e19")
    bell.say("clip_finished", clip_id="c")
    bell.say("light", state="recording")
    async with app.run_test(size=SIZE) as pilot:
        text = await shown(pilot, app, "14 s  stored")
    for words in ("● recording", "stored in 0 ms", "19 events, 1 clips wait", "PRESS"):
        assert words in text
    for line in (ENV_LINE, "doorstep listen", "doorstep clip save", "Network cut/on"):
        assert line in text
    assert "http://127.0.0.1:8080" in text


async def test_trouble_is_shown() -> None:
    bell = Bell()
    app = panel_of(bell)
    bell.say("camera_failed", reason="no picture")
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, app, "the camera failed: no picture")


async def test_without_the_owners_keys_the_doorbells_own_clips_are_listed() -> None:
    bell = Bell()
    app = Panel(bell, "http://127.0.0.1:8080", None)
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

    operate(bell, "http://127.0.0.1:8080", None, Told())
    assert bell.done == ["press", "network off", "network on", "power off", "power on"]
    assert "button pressed" in told
    assert "there is no command 'dance'" in told
