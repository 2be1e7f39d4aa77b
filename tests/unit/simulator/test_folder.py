"""One run at a time in a folder, free of what an earlier one left, ended in order."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from doorstep_simulator.folder import AlreadyRunningError, hold, processes_of
from doorstep_simulator.interrupts import calling, ending_in_order
from doorstep_simulator.processes import (
    Program,
    claim_port,
    free_ports,
    is_unclaimed,
    spawn,
)
from tests.services import wait_until


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of a run in ``tmp_path`` that somebody forgot."""
    process = spawn(Program("sleeper", ["sleep", "60"], tmp_path / "logs" / "sleeper.log"))
    try:
        # Its files are closed at exec a little before its environment can be read.
        wait_until(lambda: processes_of(tmp_path) == [process.pid], what="the sleeper's mark")
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with (
        hold(tmp_path / "run", lock, do="this"),
        pytest.raises(AlreadyRunningError, match="one runs already") as refused,
        hold(tmp_path / "run", lock, do="that"),
    ):
        pass
    assert refused.value.do == "that"
    with hold(tmp_path / "run", lock, do="this"):
        assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_what_a_killed_run_left_is_ended(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    assert processes_of(tmp_path) == [sleeper.pid]
    with hold(tmp_path, tmp_path / "lock", do=""):
        assert sleeper.wait(1) == -signal.SIGTERM
        assert processes_of(tmp_path) == []


def test_other_runs_processes_are_left_alone(
    tmp_path: Path, sleeper: "subprocess.Popen[bytes]"
) -> None:
    for other in (tmp_path / "demo", tmp_path.parent, Path(f"{tmp_path}2")):
        with hold(other, tmp_path / "lock", do=""):
            assert sleeper.poll() is None


def test_a_process_that_only_names_the_folder_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "cloud.log"
    log.parent.mkdir()
    log.touch()
    follower = subprocess.Popen(
        ["tail", "-f", str(log)],  # noqa: S607  # whichever there is
        env=dict(os.environ) | {"DOORSTEP_HOME": str(tmp_path / "owner")},
    )
    try:
        with hold(tmp_path, tmp_path / "lock", do=""):
            assert follower.poll() is None
    finally:
        follower.kill()
        follower.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_and_later_ones_do_not_disturb_the_end(number: int) -> None:
    cleaned_up: list[int] = []

    def run() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleaned_up.append(number)

    with pytest.raises(KeyboardInterrupt), ending_in_order():
        run()
    assert cleaned_up == [number]


def test_a_signal_may_call_something_instead_and_all_is_as_before_after_it() -> None:
    before, calls = signal.getsignal(signal.SIGTERM), list[int]()
    with calling(lambda: calls.append(1)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert calls == [1, 1]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_claimed_port_is_nobody_elses_until_it_is_given_back() -> None:
    (port,) = free_ports(1)
    claim = claim_port(port)
    assert claim is not None
    assert claim_port(port) is None
    assert not is_unclaimed(port)
    claim.close()
    assert is_unclaimed(port)
