"""Backup and restore as they are typed: beside a running service, and killed on the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from doorstep_cloud.households.principal import now_ms
from doorstep_cloud.store.backups import Which, opened_to_read, read_label
from tests.backups import State, clip_of, keep
from tests.integration.test_cloud_process import COMMAND, PATHS, Place, error_of, place

__all__ = ["place"]

KILLED = """
import os, signal, sys
from doorstep_cloud.__main__ import main
import doorstep_cloud.store.backups as backups
steps = int(sys.argv.pop(1))
real = os.fsync
def fsync(descriptor):
    global steps
    steps -= 1
    if steps < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
main()
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_running_service_makes_its_backups_and_refuses_to_be_restored(
    place: Place, tmp_path: Path
) -> None:
    target = tmp_path / "main.bak"
    with place.migrated().running() as running:
        invite = place.run("invite").stdout.strip()
        made = place.run("backup", "main", str(target))
        assert (made.returncode, made.stdout.strip()) == (0, str(target))
        assert target.stat().st_mode & 0o777 == 0o600
        vault = place.run("backup", "vault")
        assert Path(vault.stdout.strip()).parent == place.folder / "vault-backups"
        assert "within a day" in vault.stderr
        again = error_of(place.run("backup", "main", str(target)))
        assert "already" in again[0]
        assert again[2] == "Do: Name a file that is not there yet."
        refused = error_of(place.run("restore", "main", str(target)))
        assert f"process {running.process.pid}" in refused[0]
        assert "Ctrl-C where `make up` runs" in refused[2]
        assert running.stop() == 0
    assert "backup_made" in "".join(running.log)
    restored = place.run("restore", "main", str(target))
    assert restored.returncode == 0, restored.stderr
    assert "Next: doorstep-cloud migrate, then doorstep-cloud all" in restored.stderr
    with place.migrated().running() as running:
        assert running.has_said("restore_settled")
        assert place.run("invite").stdout.strip() != invite


def test_a_stopped_service_is_backed_up_as_well(place: Place, tmp_path: Path) -> None:
    place.migrated()
    assert place.run("backup", "main", str(tmp_path / "main.bak")).returncode == 0
    assert place.run("backup", "vault").returncode == 0
    assert place.run("restore", "vault").returncode == 0


def test_without_a_state_folder_there_is_nothing_to_copy(place: Place, tmp_path: Path) -> None:
    said = error_of(place.run("backup", "main", str(tmp_path / "main.bak")))
    assert said[0].endswith(f"and there is no state folder at {place.folder}.")
    assert said[1].startswith("Nothing was copied")
    assert said[2].startswith("Do: export DOORSTEP_CLOUD_STATE_DIR=")
    assert not place.folder.exists()
    assert not (tmp_path / "main.bak").exists()


def killed(state: State, steps: int, *words: str) -> int:
    """Run a command that is killed at its ``steps``-th sync; return how it ended."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PATHS,
        "DOORSTEP_CLOUD_STATE_DIR": str(state.folder),
    }
    command = [sys.executable, "-c", KILLED, str(steps), *words]
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def test_a_backup_that_is_killed_leaves_a_whole_one_or_none(tmp_path: Path) -> None:
    state = State.make(tmp_path)
    state.found()
    for steps in range(5):
        target = state.outside / f"{steps}.bak"
        ended = killed(state, steps, "backup", "main", str(target))
        if target.exists():
            with opened_to_read(target) as copy:
                assert read_label(copy) is not None
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
    else:
        pytest.fail("it never came to its end")
    # The same once more takes away what the kill left.
    state.back_up_main("0.bak")
    assert ".0.bak.part" not in names(state.outside)


@pytest.mark.parametrize("which", Which)
def test_a_restore_that_is_killed_leaves_a_state_that_starts(tmp_path: Path, which: Which) -> None:
    state = State.make(tmp_path)
    state.found()
    # The command goes by this machine's clock.
    state.at_ms = now_ms()
    file = state.back_up_main() if which is Which.MAIN else state.back_up_vault()
    with state.opened() as databases:
        keep(databases, clip_of(1))
    file = file.rename(state.outside / "backup")
    kills = 0
    for steps in range(12):
        ended = killed(state, steps, "restore", which.value, str(file))
        if ended != -signal.SIGKILL:
            break
        kills += 1
        # Whatever it left, the start's own checks come through.
        migrated = subprocess.run(
            [*COMMAND, "migrate"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": PATHS,
                "DOORSTEP_CLOUD_STATE_DIR": str(state.folder),
            },
            capture_output=True,
            check=False,
        )
        assert migrated.returncode == 0, migrated.stderr
        state.start()
    assert kills >= 3
