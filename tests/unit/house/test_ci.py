"""What runs on every change: the checkers, then the tests, with footage where there is any."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `make` only says what it was asked; check fails when asked to."""
    folder = tmp_path / "project/checkout"
    (folder / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
    programs = tmp_path / "bin"
    programs.mkdir()
    make = programs / "make"
    make.write_text('#!/bin/sh\necho "$1 ${DOORSTEP_FOOTAGE:-none}"\n[ "$1" != "$FAILS" ]\n')
    make.chmod(0o755)
    return folder


def run(checkout: Path, fails: str = "nothing") -> subprocess.CompletedProcess[str]:
    programs = checkout.parents[1] / "bin"
    surroundings = {
        name: value for name, value in os.environ.items() if name != "DOORSTEP_FOOTAGE"
    } | {"PATH": f"{programs}:{os.environ['PATH']}", "FAILS": fails}
    return subprocess.run(
        [str(checkout / ".ci/run")],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_checkers_run_first_and_the_tests_have_the_last_word(checkout: Path) -> None:
    assert run(checkout).stdout.splitlines() == ["check none", "test none"]


def test_footage_beside_the_checkout_is_used(checkout: Path) -> None:
    footage = checkout.parent / "shared/footage"
    footage.mkdir(parents=True)
    assert run(checkout).stdout.splitlines()[-1] == f"test {footage}"


@pytest.mark.parametrize("part", ["check", "test"])
def test_a_failing_part_fails_the_run(checkout: Path, part: str) -> None:
    assert run(checkout, fails=part).returncode != 0
