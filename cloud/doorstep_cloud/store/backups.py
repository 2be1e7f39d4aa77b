"""Copies of one database: whole, checked, and labelled with what they are of and when.

A copy is an ordinary SQLite file with one table more, its `Label`. It is written beside
its place under another name, and gets its own only when every page has been checked.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE
from doorstep_shared.errors import BadMessageError, RefusedError, TryLaterError

LABEL_TABLE: Final = "doorstep_backup"
"""The format of copies is forever: `v` is 1, and a reader refuses any other."""

SQLITE_HEADER: Final = b"SQLite format 3\x00"

Progress = Callable[[int, int], None]
"""Is told how much is done, and how much there is; may raise to stop."""

_VERSION: Final = 1
# A name in the state folder has none.
_BETWEEN: Final = "\n"
# The end of the year 9999.
_LAST_MS: Final = 253_402_300_799_999
# Of 4 KiB: so much is read between two moments at which others may have the disk.
_PAGES_A_STEP: Final = 256
# Of SQLite's own machine: about ten milliseconds.
_STEPS_BETWEEN: Final = 1_000_000
_DRAFT: Final = ".part"
_SIDE_FILES: Final = ("", "-journal", "-wal", "-shm")
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PRIMARY: Final = 0xFF
_NO_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class BackupPlaceError(RefusedError):
    """A backup may not go, or is already, where it was wanted."""


class BackupUnfinishedError(TryLaterError):
    """A copy could not be written to its end."""


class DamagedDatabaseError(RefusedError):
    """What was to be copied is not whole."""


class BadBackupError(BadMessageError):
    """A file is no backup that can be put back."""


class Which(StrEnum):
    """One of the service's two databases."""

    MAIN = "main"
    VAULT = "vault"

    @property
    def file(self) -> str:
        """Return its name in the state folder."""
        return {Which.MAIN: MAIN_FILE, Which.VAULT: VAULT_FILE}[self]


@dataclass(frozen=True, slots=True)
class Label:
    """What a copy is of.

    Attributes:
        made_at_ms: When it began to be made: what was deleted later is still in it.
        restored_at_ms: When it was put back; None on a copy that lies in its place.
        asides: Where what was there before lies since, in the state folder: all that was set
            aside since the last start, oldest first.
    """

    which: Which
    made_at_ms: int
    restored_at_ms: int | None = None
    asides: tuple[str, ...] = ()


def write_copy(
    source: Path, target: Path, label: Label, foreign: Collection[str], progress: Progress
) -> None:
    """Copy a database that others may be using to ``target``, for its owner only (0600).

    The copy is one state of the database, the one at its beginning: writers go on.

    Args:
        source: The database file.
        target: Where nothing is yet.
        label: What the copy says of itself.
        foreign: Names of tables that must not be in it.
        progress: Pages copied, and pages in all; once more while they are checked.

    Raises:
        BackupPlaceError: There is something already, or no folder to put it in.
        BackupUnfinishedError: The disk is full, or going; no half of a copy stays.
        DamagedDatabaseError: The database is not whole, or holds what is not its own.
    """
    draft = target.with_name(f".{target.name}{_DRAFT}")
    with _translated(source, target):
        if os.path.lexists(target):
            raise _taken(target)
        try:
            remove_files(draft)
            make_private(draft)
            _copy_pages(source, draft, progress)
            with opened(draft) as copy:
                if flaw := find_flaw(copy, lambda: progress(1, 1)):
                    raise _damaged(source, flaw)
                _refuse_foreign(copy, foreign)
                write_label(copy, label)
            sync(draft)
            _publish(draft, target)
        finally:
            with suppress(OSError):
                remove_files(draft)


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database that nobody else uses; its side files are gone afterwards."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # Copied from a database that keeps a write-ahead log, it says that it keeps one too.
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        connection.execute("PRAGMA secure_delete=ON").fetchone()
        yield connection


@contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy that nobody changes; nothing is made beside it."""
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
        yield connection


def find_flaw(connection: sqlite3.Connection, still: Callable[[], None]) -> str | None:
    """Return what is wrong with a database; None if every page, index and reference is right.

    Args:
        connection: On the database.
        still: Called now and then; what it raises stops the search.

    Raises:
        sqlite3.Error: It was stopped, or the disk is going.
    """

    def go_on() -> int:
        still()
        return 0

    connection.set_progress_handler(go_on, _STEPS_BETWEEN)
    (said,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    odd = connection.execute("PRAGMA foreign_key_check").fetchone()
    connection.set_progress_handler(None, 0)
    if said != "ok":
        return str(said).replace("\n", " ")
    return None if odd is None else "a row refers to one that is not there"


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """Return the names of a database's tables."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def write_label(connection: sqlite3.Connection, label: Label) -> None:
    """Make ``label`` what a database says of itself, in one step."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"DROP TABLE IF EXISTS {LABEL_TABLE}")
    connection.execute(
        f"CREATE TABLE {LABEL_TABLE} (v INTEGER NOT NULL, database TEXT NOT NULL,"
        " made_at_ms INTEGER NOT NULL, restored_at_ms INTEGER, aside TEXT)"
    )
    connection.execute(
        f"INSERT INTO {LABEL_TABLE} VALUES (?, ?, ?, ?, ?)",  # noqa: S608  # a name of ours
        (
            _VERSION,
            label.which.value,
            label.made_at_ms,
            label.restored_at_ms,
            _BETWEEN.join(label.asides) or None,
        ),
    )
    connection.execute("COMMIT")


def read_label(connection: sqlite3.Connection) -> Label | None:
    """Return what a database says of itself; None if it has no label.

    Raises:
        BadBackupError: A later version wrote it, or it is none of ours.
    """
    if LABEL_TABLE not in tables_of(connection):
        return None
    try:
        found = connection.execute(f"SELECT * FROM {LABEL_TABLE}").fetchone()  # noqa: S608  # a name of ours
        version, which, made_at_ms, restored_at_ms, asides = found
        label = Label(
            Which(which),
            _moment(made_at_ms),
            None if restored_at_ms is None else _moment(restored_at_ms),
            () if asides is None else tuple(str(asides).split(_BETWEEN)),
        )
    except (TypeError, ValueError) as error:
        raise BadBackupError("its label cannot be read") from error
    if version != _VERSION:
        raise BadBackupError(f"its label is of version {version}, and {_VERSION} is known here")
    return label


def _moment(found: object) -> int:
    """Return Unix milliseconds; SQLite keeps anything in any column, 1e300 too."""
    if not isinstance(found, int) or not 0 <= found <= _LAST_MS:
        raise ValueError("no moment that a date can tell")
    return found


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether ``error`` says that a file is broken, and not that the disk is."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _DAMAGED


def make_private(path: Path) -> None:
    """Make an empty file at ``path``, for its owner only; there must be none."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))


def remove_files(path: Path) -> None:
    """Remove a database file and what SQLite may have left beside it."""
    for side in _SIDE_FILES:
        path.with_name(path.name + side).unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Return when a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy_pages(source: Path, draft: Path, progress: Progress) -> None:
    with (
        closing(_connect(source)) as reading,
        closing(sqlite3.connect(draft, isolation_level=None)) as writing,
    ):
        # Until it is whole nobody needs it, so that it is synced once, at its end.
        writing.execute("PRAGMA synchronous=OFF").fetchone()
        # Without a state held open, each write in between would begin the copy anew.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reading.backup(
            writing,
            pages=_PAGES_A_STEP,
            progress=lambda _status, left, total: progress(total - left, total),
        )


def _connect(path: Path) -> sqlite3.Connection:
    # Never made: a database that is not there has no backup.
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)


def _refuse_foreign(copy: sqlite3.Connection, foreign: Collection[str]) -> None:
    if found := tables_of(copy) & set(foreign):
        raise DamagedDatabaseError(
            f"the database holds what belongs into the other one ({', '.join(sorted(found))})",
            safe="No backup was made: what lists things and what opens them never lie together.",
            do="doorstep-cloud check        (and tell whoever made this installation)",
        )


def _publish(draft: Path, target: Path) -> None:
    """Give a copy its name, unless something has it by now."""
    try:
        os.link(draft, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links; nobody else writes there in the same moment.
        draft.rename(target)
    sync(target.parent)


def _taken(target: Path) -> BackupPlaceError:
    return BackupPlaceError(
        f"there is something at {target} already",
        safe="It was left as it is, and no backup was made.",
        do="Name a file that is not there yet.",
    )


@contextmanager
def _translated(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise BackupPlaceError(
            f"no backup can be put at {target} ({error.strerror})",
            safe="Nothing was written.",
            do="Name a file in a folder that is there and that the service may write to.",
        ) from error
    except OSError as error:
        raise _unfinished(target, error.strerror or str(error)) from error
    except sqlite3.Error as error:
        if is_damage(error):
            raise _damaged(source, str(error)) from error
        raise _unfinished(target, str(error)) from error


def _damaged(source: Path, flaw: str) -> DamagedDatabaseError:
    return DamagedDatabaseError(
        f"{source} is damaged ({flaw})",
        safe="No backup was made, and those made before were left as they are.",
        do=f"doorstep-cloud restore {source.stem} …        (the last good one)",
    )


def _unfinished(target: Path, why: str) -> BackupUnfinishedError:
    return BackupUnfinishedError(
        f"the backup to {target} could not be written to its end ({why})",
        safe="Nothing of it was left there, and the database is as it was.",
        do=f"df -h {target.parent}        (then make room, or name another place)",
    )
