"""The command: what it says, and what it exits with."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from doorstep_device import __main__ as command
from doorstep_device.adapters.disk import FolderDisk, held
from doorstep_device.bootstrap import read_settings
from doorstep_device.identity import read_keys
from doorstep_device.ports.panel import NoPinsError
from doorstep_device.rules.zones import EVERYWHERE, Zone
from doorstep_shared.errors import RefusedError, TryLaterError
from tests.cards import enrolled_card
from tests.footage import write_video

Call = Callable[..., int]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Return how to type a command; the answer is its exit code."""
    monkeypatch.setenv("DOORSTEP_DEVICE_STATE_DIR", str(tmp_path / "state"))
    # It would hold for all the tests that follow.
    monkeypatch.setattr(command, "forbid_core_dumps", lambda: None)

    def type_it(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["doorstep-device", *words])
        with pytest.raises(SystemExit) as ended:
            command.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return code or 0

    return type_it


class Agent:
    """An agent that comes to an end in the way a test wants."""

    def __init__(self, ends: Callable[[], None]) -> None:
        self._ends = ends
        self.is_closed = False

    async def run(self) -> None:
        """Run until it ends."""
        try:
            self._ends()
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Agent], None]:
    """Return how to put an agent in the place of the real one."""

    def put(agent: Agent) -> None:
        monkeypatch.setattr(command, "GpioPanel", lambda *_: None)
        monkeypatch.setattr(command, "build_agent", lambda **_: agent)

    return put


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("the card was pulled", safe="Rings are told.", do="put it back"),
        TryLaterError("the card was pulled", safe="Rings are told.", do="put it back"),
    ],
)
def test_an_agent_that_fails_says_so_and_the_command_has_failed(
    call: Call,
    runs: Callable[[Agent], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def fail() -> None:
        raise error

    runs(Agent(fail))
    assert call("run") == 1
    said = "doorstep-device: the card was pulled.\nRings are told.\nDo: put it back\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_stops_and_has_not_failed(
    call: Call, runs: Callable[[Agent], None], number: signal.Signals
) -> None:
    agent = Agent(lambda: os.kill(os.getpid(), number))
    runs(agent)
    assert call("run") == 0
    assert agent.is_closed


def test_it_forbids_core_dumps_before_there_is_anything_to_dump(
    call: Call, runs: Callable[[Agent], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    agent = Agent(lambda: os.kill(os.getpid(), signal.SIGTERM))

    def build(**_: object) -> Agent:
        order.append("built")
        return agent

    runs(agent)
    monkeypatch.setattr(command, "build_agent", build)
    monkeypatch.setattr(command, "forbid_core_dumps", lambda: order.append("forbidden"))
    assert call("run") == 0
    assert order == ["forbidden", "built"]


def test_a_crash_is_not_a_success(call: Call, runs: Callable[[Agent], None]) -> None:
    def crash() -> None:
        raise ZeroDivisionError

    runs(Agent(crash))
    with pytest.raises(ZeroDivisionError):
        call("run")


def test_a_table_never_takes_the_videos_place(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    video = write_video(tmp_path / "visit.mp4", seconds=1)
    kept = video.read_bytes()
    for more in ((), ("--force",)):
        assert call("motion", str(video), "--csv", str(video), *more) == 1
        said = capsys.readouterr().err
        assert said == (
            f"doorstep-device: {video} is the video itself, which the table would replace.\n"
            "Nothing was read, and nothing written.\nDo: name another file with --csv\n"
        )
    assert video.read_bytes() == kept


def test_a_table_is_replaced_only_by_force(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    video, out = write_video(tmp_path / "visit.mp4", seconds=1), tmp_path / "motion.csv"
    out.write_text("mine")
    assert call("motion", str(video), "--csv", str(out)) == 1
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert call("motion", str(video), "--csv", str(out), "--force") == 0
    assert out.read_text().startswith("frame,")


def test_a_zone_leaves_out_what_moves_elsewhere(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    video, out = write_video(tmp_path / "visit.mp4", seconds=4), tmp_path / "motion.csv"
    moving = []
    for zone in ((), ("--zone", "0,0 1,0 1,0.1 0,0.1")):
        assert call("motion", str(video), "--csv", str(out), "--force", *zone) == 0
        moving.append(capsys.readouterr().err)
    assert " 0 of them with motion" not in moving[0]
    assert " 0 of them with motion" in moving[1]


def test_what_is_no_zone_is_a_mistake_in_typing(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "motion.csv"
    assert call("motion", "visit.mp4", "--csv", str(out), "--zone", "0,0 1,0") == 2
    assert "3 corners or more" in capsys.readouterr().err
    assert not out.exists()


def test_the_zone_of_the_doorbell_is_a_setting(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_settings().zone == EVERYWHERE
    monkeypatch.setenv("DOORSTEP_DEVICE_ZONE", "0,0.35 1,0.35 1,1 0,1")
    assert read_settings().zone == Zone(((0, 0.35), (1, 0.35), (1, 1), (0, 1)))
    monkeypatch.setenv("DOORSTEP_DEVICE_ZONE", "0,0 1,0")
    assert call("check") == 1
    assert (
        "the setting DOORSTEP_DEVICE_ZONE is wrong: a zone needs 3 corners or more, not 2.\n"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("words", [("run",), ("check",), ("enrol", "DS1.X")])
def test_a_mistyped_setting_is_refused_by_name(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    monkeypatch.setenv("DOORSTEP_DEVICE_PREROLL", "9")
    assert call(*words) == 1
    said = capsys.readouterr().err
    assert "there is no setting DOORSTEP_DEVICE_PREROLL." in said
    assert "DOORSTEP_DEVICE_PRE_ROLL_S" in said


def test_a_setting_out_of_bounds_is_refused_by_name(
    call: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOORSTEP_DEVICE_PRE_ROLL_S", "90")
    assert call("check") == 1
    said = capsys.readouterr().err
    assert said.splitlines() == [
        "doorstep-device: the setting DOORSTEP_DEVICE_PRE_ROLL_S is wrong: it is more than 30.0.",
        "Nothing was started.",
        "Do: export DOORSTEP_DEVICE_PRE_ROLL_S=6.0        (its default; or another)",
    ]


def test_the_state_folder_of_the_command_line_comes_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOORSTEP_DEVICE_STATE_DIR", "/elsewhere")
    monkeypatch.setenv("DOORSTEP_DEVICE_OUTBOX_MIB", "100")
    assert read_settings(tmp_path).state_dir == tmp_path
    assert read_settings().state_dir == Path("/elsewhere")
    assert read_settings().outbox_mib == 100


def test_what_a_service_refuses_in_is_shown_and_commands_no_terminal(
    call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RefusedError("\x1b]0;OWNED\x07", safe="\x9b2J", do="\u202e")

    monkeypatch.setattr(command, "enrol_by_claim", refuse)
    assert call("enrol", "DS1.X") == 1
    said = "doorstep-device: \ufffd]0;OWNED\ufffd.\n\ufffd2J\nDo: \ufffd\n"
    assert capsys.readouterr().err == said


# ── one doorbell on a card ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", [("run",), ("enrol", "DS1.X")])
def test_a_card_that_a_doorbell_works_on_is_left_alone(
    call: Call,
    runs: Callable[[Agent], None],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
) -> None:
    started: list[bool] = []
    runs(Agent(lambda: started.append(True)))
    card = enrolled_card(tmp_path / "state")
    before = sorted(card.rglob("*"))
    with held(card):
        assert call(*words) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"doorstep-device: a doorbell works on this card already ({card})."
    assert said[1] == "It was left alone, and nothing was changed."
    assert said[2].startswith("Do: let it work, or end it")
    assert started == []
    assert sorted(card.rglob("*")) == before


def test_a_doorbell_holds_its_card_until_it_has_ended(
    call: Call, runs: Callable[[Agent], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def try_another() -> None:
        with held(tmp_path / "state"):
            pass

    runs(Agent(try_another))
    assert call("run") == 1
    assert "works on this card already" in capsys.readouterr().err
    try_another()


def test_a_card_can_be_checked_while_a_doorbell_works_on_it(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with held(enrolled_card(tmp_path / "state")):
        call("check")
    assert capsys.readouterr().err.startswith(("ok    card: writes", "NOT   card: only"))


def test_a_doorbell_that_nobody_has_added_yet_waits_and_is_not_called_well(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    card = enrolled_card(tmp_path / "state")
    call("check")
    said = capsys.readouterr().err
    device = read_keys(FolderDisk(card)).public.device
    assert f"WAIT  household: doorbell {device} has not been added yet" in said
    assert "Do: doorstep device add        (on your owner's computer)" in said
    assert "ok    household" not in said


# ── a laptop, and addresses ────────────────────────────────────────────────────────────

SECRET = "hunter2"
ADDRESS = f"rtsp://u:{SECRET}@127.0.0.1:9/x"


@pytest.mark.parametrize(
    ("video", "source"),
    [
        ((), ""),
        (("--video", "/dev/video0"), " --source /dev/video0"),
        (("--video", "my door.mp4"), " --source 'video:my door.mp4'"),
        (("--video", ADDRESS), " --source ADDRESS"),
        (("--video", ADDRESS.replace("//", "/")), " --source ADDRESS"),
    ],
)
def test_without_pins_it_names_the_command_that_needs_none(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    video: tuple[str, ...],
    source: str,
) -> None:
    def no_pins(*_: object) -> None:
        raise NoPinsError("no pins", safe="Nothing was started.", do="elsewhere")

    monkeypatch.setattr(command, "GpioPanel", no_pins)
    assert call("run", *video) == 1
    said = capsys.readouterr().err
    assert said.endswith(f"or, here: doorstep-sim doorbell {read_settings().state_dir}{source}\n")
    assert SECRET not in said


def test_an_address_in_a_films_place_is_refused_without_repeating_it(
    call: Call, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("motion", ADDRESS, "--csv", str(tmp_path / "motion.csv")) == 1
    said = capsys.readouterr().err
    assert said.startswith("doorstep-device: this takes a video file, not an address.\n")
    assert SECRET not in said
