"""The doorbell as a process: commands in, facts out, and power that can be cut."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from doorstep_simulator.doorbell import Doorbell, Wiring
from doorstep_simulator.facts import Fact
from doorstep_simulator.playback import Film, parse_film
from tests.cards import NOBODY, enrolled_card
from tests.rtsp import coded_film, network_camera
from tests.running import SIMULATOR

PATIENCE_S = 30
FILM = Film(seed=3, length_s=60, width_px=320)


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of a doorbell that is enrolled and listed nowhere yet."""
    return enrolled_card(tmp_path_factory.mktemp("home") / "card")


@pytest.fixture
def bell(card: Path, tmp_path: Path) -> Iterator[Doorbell]:
    """The doorbell, on."""
    bell = Doorbell(Wiring(card, "127.0.0.1", NOBODY, FILM, tmp_path / "logs" / "doorbell.log"))
    try:
        bell.power_on()
        told(bell, "frame_scored")
        yield bell
    finally:
        bell.stop()


def told(bell: Doorbell, event: str, **details: str) -> Fact:
    """Return the first such fact, waited for."""
    bell.facts.wait_until(lambda: bell.facts.first(event, **details) is not None, PATIENCE_S)
    fact = bell.facts.first(event, **details)
    assert fact is not None, f"{event} was not told: {bell.wiring.log.read_text()}"
    return fact


def test_a_press_with_a_bouncing_contact_is_one_ring_on_the_card(bell: Doorbell) -> None:
    pressed = bell.press()
    stored = told(bell, "event_stored", kind="ring")
    assert 0 < stored.arrived_s - pressed.arrived_s < 5
    # The answer to a later command comes after everything the press can have made.
    bell.cut_network()
    told(bell, "network", state="off")
    assert len(bell.facts.all("ring_pressed")) == 1


def test_the_network_is_cut_and_mended_on_command(bell: Doorbell) -> None:
    bell.cut_network()
    told(bell, "network", state="off")
    assert (bell.is_offline, bell.door.is_cut) == (True, True)
    bell.mend_network()
    told(bell, "network", state="on")
    assert (bell.is_offline, bell.door.is_cut) == (False, False)


def test_a_clock_that_is_put_back_stamps_what_happens_then(bell: Doorbell) -> None:
    bell.step_clock(-3600)
    told(bell, "clock_stepped")
    pressed = bell.press()
    ring = told(bell, "event_stored", kind="ring").text("event_id")
    # Its id begins with the millisecond it was drawn in (RFC 9562, version 7).
    drawn_ms = int(ring.replace("-", "")[:12], 16)
    assert drawn_ms == pytest.approx(pressed.at_ms - 3_600_000, abs=30_000)


def test_a_ring_at_a_doorbell_whose_card_is_full_is_rung_and_not_kept(bell: Doorbell) -> None:
    bell.fill_card()
    told(bell, "card", state="full")
    bell.press()
    told(bell, "ring_pressed")
    told(bell, "event_not_stored")
    assert bell.facts.first("event_stored") is None
    bell.free_card()
    told(bell, "card", state="free")


def test_a_doorbell_that_stands_still_goes_on_where_it_was(bell: Doorbell) -> None:
    bell.signal(signal.SIGSTOP)
    pressed = bell.press()
    bell.signal(signal.SIGCONT)
    assert told(bell, "ring_pressed").arrived_s > pressed.arrived_s
    assert len(bell.facts.all("agent_started")) == 1


def test_stop_ends_it_in_order(bell: Doorbell) -> None:
    bell.stop()
    assert bell.facts.first("agent_stopped") is not None
    assert not bell.is_on
    bell.stop()


def test_a_power_cut_ends_it_at_once_and_its_card_keeps_the_ring(bell: Doorbell) -> None:
    bell.press()
    ring = told(bell, "event_stored", kind="ring").text("event_id")
    bell.cut_network()
    bell.cut_power()
    assert not bell.is_on
    assert bell.facts.first("agent_stopped") is None
    assert ring.encode() in b"".join(
        log.read_bytes() for log in (bell.wiring.state / "outbox").glob("events-*")
    )
    bell.power_on()
    bell.facts.wait_until(lambda: len(bell.facts.all("agent_started")) == 2, PATIENCE_S)
    # The cable is as it was before the cut.
    told(bell, "network", state="off")
    assert bell.door.is_cut


def test_a_doorbell_that_dies_unasked_is_started_again(bell: Doorbell) -> None:
    assert bell._process is not None
    bell._process.send_signal(signal.SIGKILL)
    assert told(bell, "doorbell_stopped").number("code") == -signal.SIGKILL
    bell.facts.wait_until(lambda: len(bell.facts.all("agent_started")) == 2, PATIENCE_S)
    assert len(bell.facts.all("agent_started")) == 2
    assert bell.is_on


def test_its_log_keeps_facts_but_no_scores(bell: Doorbell) -> None:
    bell.stop()
    log = bell.wiring.log.read_text()
    assert "agent_started" in log
    assert "frame_scored" not in log


def core_limits(pid: int) -> list[str]:
    """Return a running process's soft and hard limit of core files."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max core file size"))
    return line.removeprefix("Max core file size").split()[:2]


def test_no_crash_of_it_leaves_a_core_file(bell: Doorbell) -> None:
    assert bell._process is not None
    assert core_limits(bell._process.pid) == ["0", "0"]


def test_no_crash_of_the_real_agent_leaves_one_either(card: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "doorstep_device", "run", "--state", str(card)],
        env=os.environ | {"GPIOZERO_PIN_FACTORY": "mock"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert "agent_started" in next(line for line in process.stdout if "agent_" in line)
            assert core_limits(process.pid) == ["0", "0"]
        finally:
            process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_without_a_card_it_says_what_to_do(tmp_path: Path) -> None:
    wiring = Wiring(tmp_path / "none", "127.0.0.1", NOBODY, FILM, tmp_path / "log")
    done = subprocess.run(
        wiring.command(is_offline=False),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("doorbell: this doorbell belongs to nobody yet.")


def test_the_end_of_its_parent_is_its_end(card: Path, tmp_path: Path) -> None:
    wiring = Wiring(card, "127.0.0.1", NOBODY, FILM, tmp_path / "log")
    process = subprocess.Popen(
        wiring.command(is_offline=True),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
    )
    try:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_second_doorbell_on_its_card_is_refused_until_it_is_gone(
    bell: Doorbell, tmp_path: Path
) -> None:
    def second(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=tmp_path,
            input="",
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )

    card = str(bell.wiring.state)
    itself = bell.wiring.command(is_offline=False)
    for command in (itself, [str(SIMULATOR), "doorbell", card]):
        done = second(*command)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"a doorbell works on this card already ({card})." in done.stderr
        assert "\nDo: let it work, or end it where it runs" in done.stderr
    assert bell.is_on
    bell.cut_power()
    # The end of its stdin is its stop.
    assert second(*itself).returncode == 0


def test_a_network_camera_films_for_it_and_its_address_is_in_no_log(
    card: Path, tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "doorbell.log"
    with network_camera(tmp_path, coded_film(seconds=20)) as server:
        film = parse_film(server.address)
        bell = Doorbell(Wiring(card, "127.0.0.1", NOBODY, film, log))
        try:
            bell.power_on()
            told(bell, "frame_scored")
            server.kill()
            told(bell, "camera_failed")
        finally:
            bell.stop()
    assert "hunter2" not in log.read_text()
