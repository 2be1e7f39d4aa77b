"""`doorstep-cloud` on a state folder that something happened to: three lines, and no traceback."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import doorstep_cloud.store.databases as module
from doorstep_cloud.store.databases import Databases
from tests.cloud_world import House
from tests.integration.test_cloud_process import COMMAND, Ended, Place, error_of
from tests.integration.test_cloud_process import place as place  # noqa: PLC0414  # a fixture is found by its name here
from tests.people import HOUSEHOLD, OWNER
from tests.unit.cloud.test_soundness import cut, cut_within_a_page, fill_with_noise

FILES = ("main.db", "vault.db")
COMMANDS = ("all", "migrate")


def three_lines(ended: Ended) -> tuple[str, str, str]:
    fact, safe, do = error_of(ended)
    assert fact.startswith("doorstep-cloud: ")
    assert do.startswith("Do: ")
    return fact, safe, do


def give_tables_of_the_future(file: Path) -> None:
    with closing(sqlite3.connect(file)) as opened:
        opened.execute("update alembic_version set version_num = '9999'")
        opened.commit()


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "is damaged"),
    "cut within a page": (cut_within_a_page, "is damaged"),
    "noise": (fill_with_noise, "is damaged"),
    "gone": (Path.unlink, "is missing"),
    "of the future": (give_tables_of_the_future, "a later one made it"),
}


@pytest.fixture
def used(place: Place) -> Place:
    """A state folder with a household, so that both databases hold something."""
    place.migrated()
    with closing(Databases.open(place.folder)) as databases:
        House(databases, OWNER, HOUSEHOLD)
    return place


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_database_is_said_to_be_one(
    used: Place, fault: str, name: str, command: str
) -> None:
    do_harm, words = FAULTS[fault]
    do_harm(used.folder / name)
    fact, _, do = three_lines(used.run(command))
    assert words in fact
    assert Path(name).stem in fact
    assert "restore" in do
    assert not (used.folder / "admin.sock").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_another_program_locks_is_said_to_be_locked(
    used: Place, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_S", 0.1)
    with closing(sqlite3.connect(used.folder / "main.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        fact, _, do = three_lines(used.run(command))
    assert "another program keeps the database" in fact
    assert "fuser" in do


def run_bound(place: Place, command: str, *bounds: str) -> Ended:
    """Run a command in a process of its own that may do less than this one."""
    ended = subprocess.run(
        [*bounds, *COMMAND, command],
        env=dict(place.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_state_folder_that_may_not_be_written_is_said_to_be_one(
    used: Place, command: str
) -> None:
    # Root may write everywhere, unless it gives that up.
    bounds = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    used.folder.chmod(0o500)
    try:
        fact, _, do = three_lines(run_bound(used, command, *bounds))
    finally:
        used.folder.chmod(0o700)
    assert "cannot be opened" in fact
    assert str(used.folder) in do


@pytest.mark.parametrize("kilobytes", [0, 8, 40])
def test_a_disk_that_is_full_while_migrating_is_said_to_be_full(
    place: Place, kilobytes: int
) -> None:
    fact, _, _ = three_lines(run_bound(place, "migrate", "prlimit", f"--fsize={kilobytes * 1024}"))
    assert str(place.folder) in fact
    # With room again it goes on where it was.
    place.migrated()
