"""The command's own words: what it prints where, and how it says no."""

import csv
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest

from tests.running import SIMULATOR

SECRET = "hunter2"
ADDRESS = f"rtsp://owner:{SECRET}@127.0.0.1:9/live"


def typed(*words: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(SIMULATOR), *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_command_of_the_documentation_is_there() -> None:
    told = typed("--help").stdout
    for command in ("demo", "up", "env", "doorbell", "scene", "chaos", "pictures"):
        assert re.search(rf"\b{command}\b", told)


def test_a_scene_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def render(name: str) -> tuple[int, str]:
        files = ("--out", str(tmp_path / f"{name}.mp4"), "--truth", str(tmp_path / f"{name}.csv"))
        done = typed("scene", "--seed", "5", "--seconds", "1", *files)
        return done.returncode, done.stdout

    with ThreadPoolExecutor() as both:
        assert list(both.map(render, "ab")) == [(0, "")] * 2
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    with av.open(str(tmp_path / "a.mp4")) as video:
        frames = video.streams.video[0].frames
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert rows[0] == ["frame", "moving"]
    assert len(rows) - 1 == frames == 15


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("demo", "--speed", "fast"), 2),
        (("demo", "--scene", "nobody"), 1),
        (("chaos", "--clips", "0"), 2),
        (("dance",), 2),
        (("scene",), 2),
        (("doorbell", "/nowhere/at/all", "--source", "nothing"), 1),
    ],
)
def test_usage_is_two_and_a_refusal_is_one(words: tuple[str, ...], code: int) -> None:
    done = typed(*words)
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize(
    ("words", "do"),
    [
        (("doorbell", "my card", "--source", ADDRESS), "doorstep-sim doorbell 'my card' --claim"),
        (("doorbell", "card", "--source", ADDRESS, "--speed", "2"), "without --speed"),
        (("doorbell", "card", "--source", f"video:{ADDRESS}"), "name a file"),
        (("doorbell", "card", "--source", ADDRESS.replace("rtsp", "ftp")), "rtsp://USER"),
        (("demo", "--video", ADDRESS), "name a file"),
    ],
)
def test_no_refusal_repeats_an_address(words: tuple[str, ...], do: str, tmp_path: Path) -> None:
    done = typed(*words, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert do in done.stderr.splitlines()[-1]
    assert SECRET not in done.stderr


def test_without_a_stack_env_prints_nothing_a_shell_would_take(tmp_path: Path) -> None:
    done = typed("env", "--folder", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0].startswith("doorstep-sim: no stack was started")
    assert done.stderr.splitlines()[-1].startswith("Do: make up")


def test_env_says_all_that_it_sets_and_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"api": "http://127.0.0.1:1"}')
    assert '"$(.venv/bin/doorstep-sim env)"' in " ".join(typed("env", "--help").stdout.split())
    program = (
        "import sys; sys.argv[1:] = sys.argv[2:]\n"
        "from doorstep_simulator.__main__ import main\n"
        "try: main()\n"
        "finally: print(*sorted({'av', 'cv2', 'fastapi', 'textual'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "-", "env", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "\n"), done.stderr
    assert "not set up yet" in done.stderr
