"""What another terminal is told: lines a shell takes as they are."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from doorstep_shared.errors import RefusedError
from doorstep_simulator.env import Exports, read_exports

EXPORTS = Exports("http://127.0.0.1:8080", "dst_pat_x", "01a2", Path("/home/it's me"))

STATES = {"DOORSTEP_CLOUD_STATE_DIR", "DOORSTEP_DEVICE_STATE_DIR"}


def in_bash(*lines: str) -> str:
    done = subprocess.run(
        ["/bin/bash", "-c", "\n".join(lines)],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_there_are_only_export_lines_and_the_umask() -> None:
    lines = EXPORTS.lines()
    assert lines[0] == "umask 077"
    assert all(line.startswith("export ") for line in lines[1:])
    names = {line.split("=")[0].removeprefix("export ") for line in lines[1:]}
    assert names == {"API", "TOKEN", "ID", "DOORSTEP_HOME", "PATH"} | STATES


def test_a_shell_takes_them_whatever_is_in_them() -> None:
    out = in_bash(*EXPORTS.lines(), 'printf "%s\\n" "$API" "$TOKEN" "$ID" "$DOORSTEP_HOME"; umask')
    assert out.splitlines() == [
        "http://127.0.0.1:8080",
        "dst_pat_x",
        "01a2",
        "/home/it's me/owner",
        "0077",
    ]


def test_the_service_s_and_the_doorbell_s_commands_look_where_the_stack_runs() -> None:
    out = in_bash(*EXPORTS.lines(), "env").splitlines()
    assert "DOORSTEP_CLOUD_STATE_DIR=/home/it's me/cloud" in out
    assert "DOORSTEP_DEVICE_STATE_DIR=/home/it's me/doorbell" in out
    assert set(EXPORTS.environment()) >= STATES


def test_our_programs_come_before_those_of_the_shell() -> None:
    path = in_bash(*EXPORTS.lines(), 'echo "$PATH"').strip().split(":")
    assert path[0].endswith("/bin")
    assert path[-2:] == ["/usr/bin", "/bin"]
    assert EXPORTS.environment()["PATH"].split(":")[:2] == path[:2]


def test_the_token_is_not_shown_by_accident() -> None:
    assert "dst_pat_x" not in repr(EXPORTS)
    assert any(shlex.quote("dst_pat_x") in line for line in EXPORTS.lines())


def test_without_a_stack_the_way_to_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no stack was started") as refused:
        read_exports(tmp_path)
    assert refused.value.do.startswith("make up")


def test_before_the_household_is_there_one_has_to_wait(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"api": "http://127.0.0.1:1"}))
    with pytest.raises(RefusedError, match="not set up yet"):
        read_exports(tmp_path)


def test_a_stack_that_has_ended_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(json.dumps({"api": "http://127.0.0.1:1"}))
    (tmp_path / "token").write_text("dst_pat_x\n")
    with pytest.raises(RefusedError, match="no stack runs at"):
        read_exports(tmp_path)
