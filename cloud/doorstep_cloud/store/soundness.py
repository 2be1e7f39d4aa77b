"""Database files looked over before anybody works on them: there, whole, both of them.

SQLite makes a database where none is and believes a page until it reads it. So a file that
was lost would become an empty one, and a damaged one would be met in the middle of a ring.
"""

import errno
import os
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE
from doorstep_cloud.store.errors import DatabaseUnavailableError
from doorstep_shared.errors import DoorstepError, RefusedError

LOOK_S: Final = 10.0
"""Per database: some gigabytes. What is not seen by then is believed, so that a service with a
large database starts; a backup looks at every page."""

_PRIMARY: Final = 0xFF
# Of SQLite's own machine: the clock is looked at every millisecond or so.
_STEPS_BETWEEN: Final = 1_000
_BUSY_S: Final = 2.0
_OF_TOOLS: Final = {"alembic_version", "sqlite_sequence", "sqlite_stat1"}
_RESTORE: Final = {
    MAIN_FILE: "doorstep-cloud restore main FILE        (the newest backup that you have)",
    VAULT_FILE: "doorstep-cloud restore vault        (the newest backup there is)",
}
_UNCHANGED: Final = "Nothing was changed, and nothing was started."


class UnsoundDatabaseError(RefusedError):
    """A database file is damaged or missing: it is to be restored, not worked on."""


class UnusableDatabaseError(RefusedError):
    """A database file may not be opened, or its disk takes nothing more."""


def require_sound(folder: Path, *, within_s: float = LOOK_S) -> bool:
    """Look over both databases of a state folder; return whether every page was seen in time.

    Neither needs to be there, if the other holds nothing yet.

    Raises:
        UnsoundDatabaseError: One is damaged, or missing although the other has something.
        UnusableDatabaseError: One cannot be opened.
        DatabaseUnavailableError: Another program keeps one to itself.
    """
    looks = {name: _look(folder / name, within_s) for name in (VAULT_FILE, MAIN_FILE)}
    for lost, other in ((VAULT_FILE, MAIN_FILE), (MAIN_FILE, VAULT_FILE)):
        if looks[other].has_rows and not looks[lost].has_tables:
            state = "is empty" if (folder / lost).exists() else "is missing"
            raise UnsoundDatabaseError(
                f"the database {folder / lost} {state}, and {other} beside it is not",
                safe=_UNCHANGED,
                do=_RESTORE[lost],
            )
    return all(look.is_whole for look in looks.values())


def trouble_with(path: Path, error: BaseException | None) -> DoorstepError:
    """Return what SQLite's error about the database at ``path`` means to whoever runs it."""
    match getattr(error, "sqlite_errorcode", 0) & _PRIMARY:
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(path, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return DatabaseUnavailableError(
                f"another program keeps the database {path} to itself",
                safe=_UNCHANGED,
                do=f"fuser -v {path}        (names it; end it, then start again)",
            )
        case sqlite3.SQLITE_FULL:
            return no_room(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            why = "the service may not write there" if path.exists() else "it cannot be made there"
            return UnusableDatabaseError(
                f"the database {path} cannot be opened: {why}",
                safe=_UNCHANGED,
                do=f"ls -ld {path.parent} {path}        (both must be the service's own)",
            )
        case _:
            return UnusableDatabaseError(
                f"the database {path} cannot be used: {error}",
                safe=_UNCHANGED,
                do="dmesg        (says whether the disk is failing)",
            )


def no_room(path: Path) -> UnusableDatabaseError:
    """Return that the disk takes no more of what is at ``path``."""
    return UnusableDatabaseError(
        f"the disk takes nothing more for {path}: it is full, or a quota is",
        safe="What was there is unharmed.",
        do=f"df -h {path.parent}        (then make room, and the same command again)",
    )


def is_no_room(error: OSError) -> bool:
    """Return whether ``error`` says that a disk takes no more."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of one file; without arguments, of none.

    Attributes:
        is_whole: Every page was seen in time, and is right.
    """

    has_tables: bool = False
    has_rows: bool = False
    is_whole: bool = True


def _look(path: Path, within_s: float) -> _Look:
    if not os.path.lexists(path):
        return _Look()
    try:
        with closing(_connect(path)) as connection:
            is_whole = _is_whole(connection, path, within_s)
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
            tables = {str(name) for (name,) in connection.execute(query)}
            return _Look(
                has_tables=bool(tables),
                has_rows=any(_has_row(connection, table) for table in tables - _OF_TOOLS),
                is_whole=is_whole,
            )
    except sqlite3.Error as error:
        raise trouble_with(path, error) from error


def _connect(path: Path) -> sqlite3.Connection:
    # Never made here; a log that a killed process left is read in, which takes writing.
    address = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(address, uri=True, timeout=_BUSY_S, isolation_level=None)


def _is_whole(connection: sqlite3.Connection, path: Path, within_s: float) -> bool:
    """Return whether every page was seen in time; a page that is wrong is an error."""
    give_up_at = time.monotonic() + within_s
    connection.set_progress_handler(lambda: time.monotonic() > give_up_at, _STEPS_BETWEEN)
    try:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return False
    finally:
        connection.set_progress_handler(None, 0)
    if said != "ok":
        raise _damaged(path, str(said))
    return True


def _has_row(connection: sqlite3.Connection, table: str) -> bool:
    quoted = table.replace('"', '""')
    query = f'SELECT 1 FROM "{quoted}" LIMIT 1'  # noqa: S608  # a name that the file itself gave
    return connection.execute(query).fetchone() is not None


def _damaged(path: Path, flaw: str) -> UnsoundDatabaseError:
    said = " ".join(flaw.split())
    return UnsoundDatabaseError(
        f"the database {path} is damaged ({said})",
        safe=_UNCHANGED,
        do=_RESTORE.get(path.name, "Restore it from a backup."),
    )
