"""Units of work over the main database and the vault.

A unit is one transaction in each. On SQLite its rules were found by trying, and
each has a test: a read unit is ``BEGIN`` under ``query_only``; a write unit is
``BEGIN IMMEDIATE``, for with a deferred ``BEGIN`` four threads of
read-modify-write lose updates or meet "database is locked"; two WAL files are
not atomic together, so the vault is committed first, and a vault row that no
main row names is never served.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DatabaseError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from doorstep_cloud.store.errors import DatabaseUnavailableError, VaultBusyError

MAIN_FILE: Final = "main.db"
VAULT_FILE: Final = "vault.db"

# Longer than any unit of ours, shorter than a person's patience.
_BUSY_S: Final = 10.0

# How long a deletion waits for those who read the vault, and in what steps.
_CHECKPOINT_S: Final = 5.0
_CHECKPOINT_TRY_MS: Final = 50
_CHECKPOINT_PAUSE_S: Final = 0.02

# FastAPI's 40 worker threads hold at most one unit each; ingest and jobs need a few more.
_CONNECTIONS: Final = 56

_OPTION: Final = "doorstep_unit"


# A file that is damaged, gone or on a disk that is going. What connections know of it may
# be untrue from now on, so that all of them are made anew.
_BROKEN: Final = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
}
# The world's doing: another writer, a full disk, a broken file. All else is ours.
_AWAY: Final = _BROKEN | {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_FULL,
}
_PRIMARY: Final = 0xFF


class _Mode(StrEnum):
    READ = "read"
    WRITE = "write"


class _Cursor(Protocol):
    def close(self) -> None: ...


class _SqliteConnection(Protocol):
    """The part of `sqlite3.Connection` used here."""

    isolation_level: str | None

    def execute(self, sql: str, /) -> _Cursor: ...


class Unit:
    """One transaction in each database; services read and write through it and never commit.

    Attributes:
        main: Session on the main database.
        vault: Session on the vault.
    """

    __slots__ = ("_mode", "main", "vault")

    def __init__(self, main: Session, vault: Session, mode: _Mode) -> None:
        self.main = main
        self.vault = vault
        self._mode = mode

    def commit(self) -> None:
        """Make the unit durable: vault, then main. Afterwards it cannot be used.

        Called once, by a route, an ingest batch or a job. Should the power fail
        between the two, the vault holds rows that no main row names.
        """
        if self._mode is _Mode.READ:
            raise RuntimeError("a read unit has nothing to commit")
        self.vault.commit()
        self.main.commit()


class Databases:
    """The two databases of one state folder.

    Safe to share between threads; a `Unit` is not.
    """

    def __init__(self, main: Engine, vault: Engine) -> None:
        self.main = main
        self.vault = vault
        # SQLite's own waiting polls with growing pauses; a lock wakes the next writer at once.
        self._writing = threading.Lock()
        self._places: dict[Engine, tuple[int, int]] = {}
        self._counting = threading.Lock()
        self._unavailable: dict[_Mode, int] = dict.fromkeys(_Mode, 0)

    @classmethod
    def open(cls, folder: Path, *, is_new: bool = True) -> "Databases":
        """Return the databases in ``folder``; their tables are `migrate`'s business.

        Args:
            folder: The state folder.
            is_new: Whether a file that is not there is made. A service that runs makes none:
                one that was lost would be taken for an empty one.
        """
        return cls(
            sqlite_engine(folder / MAIN_FILE, is_new=is_new),
            sqlite_engine(folder / VAULT_FILE, is_new=is_new),
        )

    def close(self) -> None:
        """Close every connection that no unit holds."""
        self.main.dispose()
        self.vault.dispose()

    def unavailable(self) -> Mapping[str, int]:
        """Return how many units were given up since the start: the database was busy or away."""
        with self._counting:
            return {mode.value: count for mode, count in self._unavailable.items()}

    @contextmanager
    def read(self) -> Iterator[Unit]:
        """Open a unit that sees one state of each database and can change neither.

        Raises:
            DatabaseUnavailableError: The database is busy or broken.
        """
        with self._counted(_Mode.READ), ExitStack() as stack:
            yield self._unit(_Mode.READ, stack)

    @contextmanager
    def write(self) -> Iterator[Unit]:
        """Open the one write unit there can be at a time; left uncommitted, it is undone.

        Raises:
            DatabaseUnavailableError: Another writer kept it for ten seconds, or
                the disk is full or read-only.
        """
        if not self._writing.acquire(timeout=_BUSY_S):
            self._count(_Mode.WRITE)
            raise DatabaseUnavailableError(
                "the database is busy", safe="Nothing was changed.", after_s=1.0
            )
        try:
            with self._counted(_Mode.WRITE), ExitStack() as stack:
                self._require_in_place()
                unit = self._unit(_Mode.WRITE, stack)
                unit.vault.connection()
                unit.main.connection()
                yield unit
        finally:
            self._writing.release()

    def _require_in_place(self) -> None:
        """Return if the files that connections write to still have their names.

        SQLite goes on writing to a file that was deleted, and tells nobody.
        """
        for engine in (self.vault, self.main):
            known, found = self._places.get(engine), _place_of(Path(engine.url.database or ""))
            if found is not None:
                self._places[engine] = found
            if known is not None and known != found:
                engine.dispose()
                raise DatabaseUnavailableError(
                    "a database file is not where it was",
                    safe="Nothing of this was kept by half.",
                    do="doorstep-cloud check        (after the file is back)",
                    after_s=1.0,
                )

    @contextmanager
    def _counted(self, mode: _Mode) -> Iterator[None]:
        try:
            with _errors_translated(mode):
                yield
        except DatabaseUnavailableError:
            self._count(mode)
            raise

    def _count(self, mode: _Mode) -> None:
        with self._counting:
            self._unavailable[mode] += 1

    def forget_deleted(self, patience_s: float = _CHECKPOINT_S) -> None:
        """Return when no file of the vault holds what was deleted from it any more.

        A deleted row is overwritten in the database file, but the log still holds the
        page as it was, until it is written back and cut to nothing. That cannot be while
        anybody reads an older state.

        Raises:
            VaultBusyError: Somebody read it all the time.
            DatabaseUnavailableError: The vault is away.
        """
        give_up_at = time.monotonic() + patience_s
        with _errors_translated(_Mode.WRITE):
            while not self._is_log_cut():
                if time.monotonic() > give_up_at:
                    raise VaultBusyError(
                        "the vault is being read, and what was deleted is still in its log",
                        safe="The deletion stands; only its receipt is missing yet.",
                        do="ask once more",
                        after_s=2.0,
                    )
                time.sleep(_CHECKPOINT_PAUSE_S)

    def _is_log_cut(self) -> bool:
        """Try to write the vault's log back and cut it to nothing; return whether that was done."""
        if not self._writing.acquire(timeout=_CHECKPOINT_S):
            return False
        try:
            with (
                closing(self.vault.raw_connection()) as connection,
                closing(connection.cursor()) as cursor,
            ):
                # Writers wait while it waits for readers, and rings are written too.
                cursor.execute(f"PRAGMA busy_timeout={_CHECKPOINT_TRY_MS}")
                try:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    # Busy, pages in the log, pages written back.
                    row = cursor.fetchone()
                finally:
                    cursor.execute(f"PRAGMA busy_timeout={round(_BUSY_S * 1000)}")
                return row is not None and row[0] == 0
        finally:
            self._writing.release()

    def _unit(self, mode: _Mode, stack: ExitStack) -> Unit:
        options = {_OPTION: mode}
        vault = stack.enter_context(_session(self.vault.execution_options(**options)))
        main = stack.enter_context(_session(self.main.execution_options(**options)))
        return Unit(main, vault, mode)


def _place_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of its name; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def sqlite_engine(path: Path, *, is_new: bool = True) -> Engine:
    """Return an engine on the SQLite file ``path`` that follows the rules of this module.

    Args:
        path: The file.
        is_new: Whether it is made if it is not there.
    """
    mode = "rwc" if is_new else "rw"
    engine = create_engine(
        f"sqlite:///{path}",
        creator=lambda: sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            check_same_thread=False,
        ),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_BUSY_S,
        # An error's text may reach the log; what was written must not.
        hide_parameters=True,
    )
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "checkin", _let_write_again)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "handle_error", _let_go_of_broken)
    return engine


def _session(engine: Engine) -> Session:
    # Without autobegin a session that was committed refuses further use, so that
    # nobody works on outside the unit.
    session = Session(engine, autobegin=False, expire_on_commit=False)
    session.begin()
    return session


def _prepare(connection: _SqliteConnection, _record: object) -> None:
    # The driver's own transactions are switched off: it would begin deferred ones.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        # A commit comes before our acknowledgement, so it is on the disk first.
        "synchronous=FULL",
        # Deleted rows are overwritten in the file.
        "secure_delete=ON",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_OPTION) == _Mode.READ:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _let_go_of_broken(context: ExceptionContext) -> None:
    # SQLAlchemy then makes this connection and all older ones anew, so that a file that was
    # put back is found.
    if isinstance(context.original_exception, sqlite3.DatabaseError):
        code = context.original_exception.sqlite_errorcode
        if code & _PRIMARY in _BROKEN or code == sqlite3.SQLITE_READONLY_DBMOVED:
            context.is_disconnect = True


def _let_write_again(connection: _SqliteConnection | None, _record: object) -> None:
    # Left on, it makes the next BEGIN IMMEDIATE of this connection fail.
    if connection is not None:
        connection.execute("PRAGMA query_only=OFF").close()


@contextmanager
def _errors_translated(mode: _Mode) -> Iterator[None]:
    try:
        yield
    # Where a connection is used without SQLAlchemy, the driver's own come.
    except (DatabaseError, PoolTimeoutError, sqlite3.Error) as error:
        if not _is_away(error, mode):
            raise
        raise DatabaseUnavailableError(
            "the database could not be used just now",
            safe="Nothing of this was kept by half.",
            after_s=1.0,
        ) from error


def _is_away(error: DatabaseError | PoolTimeoutError | sqlite3.Error, mode: _Mode) -> bool:
    """Return whether a later try may help; if not, the mistake is ours."""
    if isinstance(error, PoolTimeoutError):
        return True
    original = error.orig if isinstance(error, DatabaseError) else error
    code = getattr(original, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_READONLY:
        # In a read unit that is what keeps us from writing.
        return mode is _Mode.WRITE
    return code & _PRIMARY in _AWAY | {sqlite3.SQLITE_READONLY}
