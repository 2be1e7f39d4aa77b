"""Database files that were lost or damaged are found before anybody works on them."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE
from doorstep_cloud.store.errors import DatabaseUnavailableError
from doorstep_cloud.store.soundness import (
    UnsoundDatabaseError,
    UnusableDatabaseError,
    require_sound,
    trouble_with,
)

FILES = (MAIN_FILE, VAULT_FILE)
PAGE = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two databases of some hundred pages, in the manner of ours."""
    for name in FILES:
        with closing(sqlite3.connect(tmp_path / name)) as made:
            made.execute("pragma journal_mode=wal")
            made.execute("create table alembic_version (version_num text)")
            made.execute("create table thing (id integer primary key, word text unique)")
            words = ((number, f"{number:0200}") for number in range(2000))
            made.executemany("insert into thing values (?, ?)", words)
            made.commit()
    return tmp_path


def test_two_whole_databases_are_sound(folder: Path) -> None:
    assert require_sound(folder)


def test_a_folder_without_databases_is_sound(tmp_path: Path) -> None:
    assert require_sound(tmp_path)


def cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def cut_within_a_page(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(100)


def fill_with_noise(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(100_000))


def flip_bits_in_pages(file: Path) -> None:
    data = bytearray(file.read_bytes())
    for page in range(2, len(data) // PAGE):
        # The kind of a page and where its cells begin.
        for offset in range(12):
            data[page * PAGE + offset] ^= 0xFF
    file.write_bytes(data)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [cut, cut_within_a_page, fill_with_noise, flip_bits_in_pages])
def test_a_damaged_database_is_to_be_restored(folder: Path, name: str, damage: object) -> None:
    assert callable(damage)
    damage(folder / name)
    before = (folder / name).read_bytes()
    with pytest.raises(UnsoundDatabaseError, match=f"{name} is damaged") as caught:
        require_sound(folder)
    assert caught.value.safe
    assert caught.value.do.startswith(f"doorstep-cloud restore {Path(name).stem}")
    assert (folder / name).read_bytes() == before


@pytest.mark.parametrize("name", FILES)
def test_a_lost_database_is_not_taken_for_an_empty_one(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UnsoundDatabaseError, match=f"{name} is missing") as caught:
        require_sound(folder)
    assert caught.value.do.startswith(f"doorstep-cloud restore {Path(name).stem}")
    assert not (folder / name).exists()
    (folder / name).touch()
    with pytest.raises(UnsoundDatabaseError, match=f"{name} is empty"):
        require_sound(folder)


def test_a_first_migration_that_was_cut_off_may_go_on(folder: Path) -> None:
    (folder / MAIN_FILE).unlink()
    with closing(sqlite3.connect(folder / VAULT_FILE)) as vault:
        vault.execute("delete from thing")
        vault.commit()
    assert require_sound(folder)


def test_a_large_database_is_looked_over_in_part(folder: Path) -> None:
    assert not require_sound(folder, within_s=0)


def test_what_another_program_keeps_to_itself_is_named(folder: Path) -> None:
    with closing(sqlite3.connect(folder / MAIN_FILE, isolation_level=None)) as other:
        other.execute("pragma journal_mode=delete").fetchone()
        other.execute("begin exclusive")
        with pytest.raises(DatabaseUnavailableError, match="another program") as caught:
            require_sound(folder)
    assert str(folder / MAIN_FILE) in caught.value.do


def error_of(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("words of the library")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (sqlite3.SQLITE_FULL, UnusableDatabaseError, "full"),
        (sqlite3.SQLITE_IOERR_WRITE, UnusableDatabaseError, "words of the library"),
        (sqlite3.SQLITE_CANTOPEN, UnusableDatabaseError, "cannot be opened"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, UnusableDatabaseError, "cannot be opened"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, DatabaseUnavailableError, "another program"),
        (sqlite3.SQLITE_CORRUPT_VTAB, UnsoundDatabaseError, "damaged"),
    ],
)
def test_every_trouble_with_a_file_is_said_in_three_lines(
    tmp_path: Path, code: int, kind: type[Exception], words: str
) -> None:
    said = trouble_with(tmp_path / MAIN_FILE, error_of(code))
    assert isinstance(said, kind)
    assert words in said.fact
    assert said.safe
    assert said.do
