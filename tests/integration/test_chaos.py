"""The fault lab from its command: everything real, ten kills, and an audit at the end."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from doorstep_simulator.chaos import BELLS
from doorstep_simulator.chaos_plan import draw_plan
from doorstep_simulator.folder import processes_of
from tests.running import finished, simulator

PATIENCE_S = 300
CLIPS, KILLS, SEED = 12, 10, 7


def chaos(folder: Path, *options: str) -> "subprocess.Popen[str]":
    return simulator("chaos", "--folder", str(folder), "--json", *options)


@pytest.mark.timeout(PATIENCE_S + 60)
def test_ten_kills_amid_other_faults_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    picture = tmp_path / "timeline.svg"
    options = {"--clips": CLIPS, "--kills": KILLS, "--seed": SEED, "--picture": picture}
    words = [str(word) for option in options.items() for word in option]
    process = chaos(tmp_path, *words)
    out, told = finished(process, PATIENCE_S)
    assert process.returncode == 0, told + out
    (line,) = out.splitlines()
    found = json.loads(line)

    plan = draw_plan(seed=SEED, clips=CLIPS, kills=KILLS, bells=BELLS)
    assert (found["seed"], found["plan"]) == (SEED, json.loads(json.dumps(plan.to_json())))
    struck = [{name: fault[name] for name in plan.to_json()[0]} for fault in found["faults"]]
    assert sorted(map(json.dumps, struck)) == sorted(map(json.dumps, found["plan"]))
    assert list(found)[-5:] == ["clips", "kills", "lost", "doubled", "recovery_s_max"]
    assert found["clips"] >= CLIPS
    assert found["kills"] == KILLS
    assert [found[harm] for harm in ("lost", "doubled", "stray", "altered")] == [0, 0, 0, 0]
    assert found["findings"] == []
    recoveries = [fault["recovery_s"] for fault in found["faults"] if fault["deed"] == "kill"]
    assert found["recovery_s_max"] == max(recoveries) > 0

    for fault in plan.faults:
        assert fault.words in told
    assert ET.parse(picture).getroot().tag.endswith("svg")  # noqa: S314  # our own drawing
    assert not (tmp_path / "chaos").exists()
    assert processes_of(tmp_path / "chaos") == []


@pytest.mark.timeout(90)
def test_control_c_amid_faults_ends_everything_and_leaves_no_key_behind(tmp_path: Path) -> None:
    process = chaos(tmp_path)
    log = tmp_path / "chaos" / "logs" / "doorbell-1.log"
    deadline = time.monotonic() + 50
    while not log.exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    out, _ = finished(process, PATIENCE_S)
    assert (process.returncode, out) == (130, "")
    assert not (tmp_path / "chaos").exists()
    assert processes_of(tmp_path / "chaos") == []
