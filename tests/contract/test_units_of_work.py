"""What a unit of work promises, on every engine it runs on: SQLite, so far."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import InvalidRequestError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import doorstep_cloud.store.databases as module
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.errors import DatabaseUnavailableError

THREADS, TIMES = 4, 100


class Main(DeclarativeBase):
    """Tables of these tests alone."""


class Vault(DeclarativeBase):
    """The same for the other database."""


class Pot(Main):
    """A number that threads add to."""

    __tablename__ = "pot"

    id: Mapped[int] = mapped_column(primary_key=True)
    coins: Mapped[int]


class Key(Vault):
    """Something that opens something."""

    __tablename__ = "key"

    id: Mapped[int] = mapped_column(primary_key=True)
    secret: Mapped[bytes]


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    found = Databases.open(tmp_path)
    Main.metadata.create_all(found.main)
    Vault.metadata.create_all(found.vault)
    with found.write() as unit:
        unit.main.add(Pot(id=1, coins=0))
        unit.commit()
    yield found
    found.close()


def coins(databases: Databases) -> int:
    with databases.read() as unit:
        return unit.main.get_one(Pot, 1).coins


def add_coins(databases: Databases, times: int) -> None:
    for _ in range(times):
        with databases.write() as unit:
            unit.main.get_one(Pot, 1).coins += 1
            unit.commit()


def in_threads(databases: Databases) -> None:
    threads = [threading.Thread(target=add_coins, args=(databases, TIMES)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_no_update_of_four_threads_is_lost(databases: Databases) -> None:
    in_threads(databases)
    assert coins(databases) == THREADS * TIMES


def test_writers_of_two_processes_wait_for_one_another(
    databases: Databases, tmp_path: Path
) -> None:
    # A second `Databases` shares no lock of ours, as a second process would not.
    other = Databases.open(tmp_path)
    threads = [threading.Thread(target=add_coins, args=(one, 25)) for one in (databases, other) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert coins(databases) == 100


def test_what_is_not_committed_is_undone_in_both(databases: Databases) -> None:
    with databases.write() as unit:
        unit.main.get_one(Pot, 1).coins = 7
        unit.vault.add(Key(id=1, secret=b"x"))
        unit.main.flush()
        unit.vault.flush()
    assert coins(databases) == 0
    with databases.read() as unit:
        assert unit.vault.scalar(select(func.count()).select_from(Key)) == 0


def test_an_error_undoes_the_unit(databases: Databases) -> None:
    with pytest.raises(ZeroDivisionError), databases.write() as unit:
        unit.main.get_one(Pot, 1).coins = 1 // 0
    assert coins(databases) == 0


def test_the_vault_is_committed_before_main(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power fails between the two: the vault has the row, and main does not name it."""

    def power_cut() -> None:
        raise KeyboardInterrupt

    with databases.write() as unit:
        unit.main.get_one(Pot, 1).coins = 7
        unit.vault.add(Key(id=1, secret=b"x"))
        monkeypatch.setattr(unit.main, "commit", power_cut)
        with pytest.raises(KeyboardInterrupt):
            unit.commit()
    assert coins(databases) == 0
    with databases.read() as unit:
        assert unit.vault.get_one(Key, 1).secret == b"x"


def test_a_unit_ends_with_its_commit(databases: Databases) -> None:
    with databases.write() as unit:
        unit.commit()
        for use in (lambda: unit.main.get(Pot, 1), lambda: unit.vault.get(Key, 1)):
            with pytest.raises(InvalidRequestError):
                use()


def test_a_read_unit_changes_nothing(databases: Databases) -> None:
    for session in ("main", "vault"):
        with pytest.raises(OperationalError, match="readonly"), databases.read() as unit:
            getattr(unit, session).execute(text("create table never (x integer)"))
    with databases.read() as unit, pytest.raises(RuntimeError):
        unit.commit()


def test_a_read_unit_sees_one_state(databases: Databases) -> None:
    with databases.read() as unit:
        before = unit.main.scalar(select(Pot.coins))
        add_coins(databases, 3)
        unit.main.expire_all()
        assert unit.main.scalar(select(Pot.coins)) == before
    assert coins(databases) == 3


def test_a_connection_that_read_may_write_again(tmp_path: Path) -> None:
    """`query_only` left on a pooled connection would make its next write fail."""
    found = Databases.open(tmp_path)
    for _ in range(3):
        with found.read() as unit:
            unit.main.execute(text("select 1"))
        with found.write() as unit:
            unit.main.execute(text("create table if not exists t (x integer)"))
            unit.commit()
    assert found.main.pool.checkedin() == 1  # type: ignore[attr-defined]  # a queue's
    found.close()


def test_a_writer_that_waits_too_long_is_told_to_come_back(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BUSY_S", 0.01)
    with (
        databases.write(),
        pytest.raises(DatabaseUnavailableError) as caught,
        databases.write(),
    ):
        pytest.fail("two writers at a time")
    assert caught.value.after_s == 1.0


def test_another_process_in_the_middle_of_a_write_is_waited_for_then_reported(
    databases: Databases, tmp_path: Path
) -> None:
    with databases.read() as unit:
        unit.main.execute(text("pragma busy_timeout=10"))
    other = sqlite3.connect(tmp_path / "main.db", isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(DatabaseUnavailableError), databases.write():
        pytest.fail("two writers at a time")
    other.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("secure_delete", 1),
        ("foreign_keys", 1),
        ("query_only", 0),
        ("busy_timeout", 10_000),
    ],
)
def test_every_connection_keeps_the_rules(databases: Databases, pragma: str, value: object) -> None:
    def settings_of(unit: Unit) -> list[object]:
        return [s.scalar(text(f"pragma {pragma}")) for s in (unit.main, unit.vault)]

    with databases.write() as unit:
        assert settings_of(unit) == [value, value]


def test_a_deleted_secret_leaves_the_file(databases: Databases, tmp_path: Path) -> None:
    secret = b"a very long secret that is nowhere else"
    with databases.write() as unit:
        unit.vault.add(Key(id=1, secret=secret))
        unit.commit()
    with databases.write() as unit:
        unit.vault.delete(unit.vault.get_one(Key, 1))
        unit.commit()
    databases.close()  # the last connection writes the log into the file
    assert secret not in (tmp_path / "vault.db").read_bytes()


def test_a_mistake_of_ours_is_not_called_the_worlds(databases: Databases) -> None:
    with pytest.raises(OperationalError, match="syntax"), databases.read() as unit:
        unit.main.execute(text("selekt 1"))


def test_a_full_disk_is_the_worlds_doing(databases: Databases) -> None:
    with databases.write() as unit:
        pages = unit.vault.scalar(text("pragma page_count"))
        unit.vault.execute(text(f"pragma max_page_count={pages}"))
    with pytest.raises(DatabaseUnavailableError), databases.write() as unit:
        unit.vault.execute(insert(Key).values(id=1, secret=bytes(100_000)))


def test_an_error_never_says_what_was_written(databases: Databases) -> None:
    statement = text("insert into pot (id, coins, nothing) values (:a, :b, 1)")
    with pytest.raises(OperationalError) as caught, databases.write() as unit:
        unit.main.execute(statement, {"a": 2, "b": 424242})
    assert "424242" not in str(caught.value)
