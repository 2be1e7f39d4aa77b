"""What people type: `make` lists it, and hands on what they ask for."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TARGETS = {"demo", "up", "test", "check", "bench", "soak", "pictures", "clean", "deps", "fix"}


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # What an outer make hands down must not steer this one.
    surroundings = {
        name: value
        for name, value in os.environ.items()
        if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "KEEP", "VIDEO", "SPEED", "JSON"}
    }
    return subprocess.run(
        ["make", *arguments],  # noqa: S607  # whichever make the person has
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout that is set up, with a simulator that only says what it was asked."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    simulator = programs / "doorstep-sim"
    simulator.write_text('#!/bin/sh\nfor word; do printf "<%s>" "$word"; done\n')
    simulator.chmod(0o755)
    (tmp_path / ".venv/ready").touch()
    return tmp_path


def test_make_alone_lists_the_targets_and_changes_nothing(checkout: Path) -> None:
    listed = make(checkout).stdout
    words = {line.split()[0] for line in listed.splitlines() if line.startswith("  ")}
    assert words >= TARGETS


def test_a_plain_demo_asks_for_nothing_special(checkout: Path) -> None:
    assert make(checkout, "demo").stdout == "<demo>"


def test_a_demo_hands_on_every_wish_even_a_name_with_spaces(checkout: Path) -> None:
    done = make(checkout, "demo", "VIDEO=my $$door's.mp4", "SPEED=2", "KEEP=1", "OPEN=1", "JSON=1")
    assert done.stdout == "<demo><--video><my $door's.mp4><--speed><2><--keep><--open><--json>"


def test_a_failing_demo_fails_make(checkout: Path) -> None:
    (checkout / ".venv/bin/doorstep-sim").write_text("#!/bin/sh\nexit 1\n")
    assert make(checkout, "demo").returncode != 0


def test_cleaning_keeps_the_environment_unless_asked(checkout: Path) -> None:
    (checkout / ".demo").mkdir()
    make(checkout, "clean")
    assert not (checkout / ".demo").exists()
    assert (checkout / ".venv/ready").exists()
    make(checkout, "clean", "ALL=1")
    assert not (checkout / ".venv").exists()
