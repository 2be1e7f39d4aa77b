"""What the agent costs beyond the encoder that any camera needs.

`doorstep-device run --video` on an enrolled card, beside a bare process that decodes and
encodes the same video with the same settings: what is left is the motion rule, recording,
sealing, the outbox and delivery. The video is a rendered scene with a visitor, so that the
agent records and delivers while it is measured.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from doorstep_simulator.scene import Scene, write_scene
from doorstep_simulator.tools import find_program
from tests.benchmarks.figures import Figure
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.table import Better, Row

RUNS = 2
VIDEO_S = 30.0
SEED = 7
# Starting up is not measured, nor what follows the film.
FROM_S, UNTIL_S = 5.0, 28.0
SAMPLE_S = 0.25
STOP_S = 15.0
MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]
ENCODER = "bare PyAV encoder"


class Cost(NamedTuple):
    """What a process took while it was watched.

    Attributes:
        cpu_percent: Of one core.
        rss_mib: Median of its resident memory.
    """

    cpu_percent: float
    rss_mib: float


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[psutil.Process]:
    """Run a command on mock pins until the block ends."""
    environment = {**os.environ, "GPIOZERO_PIN_FACTORY": "mock"}
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _watch(process: psutil.Process) -> Cost:
    time.sleep(FROM_S)
    rss: list[float] = []
    began_s, began = time.monotonic(), process.cpu_times()
    while time.monotonic() - began_s < UNTIL_S - FROM_S:
        rss.append(process.memory_info().rss / MIB)
        time.sleep(SAMPLE_S)
    took_s, ended = time.monotonic() - began_s, process.cpu_times()
    cpu_s = ended.user + ended.system - began.user - began.system
    return Cost(100 * cpu_s / took_s, median(rss))


def _measure(lab: Lab) -> Iterator[Row]:
    video, card = lab.folder / "scene.mp4", lab.make_card("filming")
    lab.tell("agent: rendering the video")
    write_scene(Scene(SEED, VIDEO_S), video, lab.folder / "scene.csv", lambda _done, _all: None)
    agent = [str(find_program("doorstep-device")), "run", "--video", str(video)]
    commands = {
        "agent": [*agent, "--state", str(card)],
        "encoder": [sys.executable, "-m", "tests.benchmarks.bare_encoder", str(video)],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(RUNS):
        lab.tell(f"agent: turn {turn + 1} of {RUNS}, {2 * UNTIL_S:.0f} s")
        for name, command in commands.items():
            with _running(command, lab.folder / f"{name}.log") as process:
                costs[name].append(_watch(process))
    if "clip_stored" not in (lab.folder / "agent.log").read_text():
        raise AssertionError("the agent delivered no clip, so its cost means nothing")
    ours, theirs = costs["agent"], costs["encoder"]
    cpu = [Figure(tuple(cost.cpu_percent for cost in side)) for side in (ours, theirs)]
    rss = [Figure(tuple(cost.rss_mib for cost in side)) for side in (ours, theirs)]
    what = "agent filming 720p at 15/s, recording, sealing, delivering"
    less = Better.LESS
    yield Row("agent-cpu", f"{what}: CPU", "% of a core", less, cpu[0], ENCODER, cpu[1])
    yield Row(
        "agent-cpu-beyond", f"{what}: CPU beyond the encoder", "% of a core", less, _less(*cpu)
    )
    yield Row("agent-rss", f"{what}: memory", "MiB", less, rss[0], ENCODER, rss[1])
    yield Row("agent-rss-beyond", f"{what}: memory beyond the encoder", "MiB", less, _less(*rss))


def _less(ours: Figure, theirs: Figure) -> Figure:
    return Figure(tuple(a - b for a, b in zip(ours.values, theirs.values, strict=True)))


NAMES = ("agent-cpu", "agent-cpu-beyond", "agent-rss", "agent-rss-beyond")
BENCHES = (Bench(NAMES, _measure),)
