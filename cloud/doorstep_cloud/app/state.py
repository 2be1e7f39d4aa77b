"""The state folder: made by `migrate`, held by one process at a time."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from doorstep_cloud.app.credentials import create_missing, write_private
from doorstep_cloud.app.schema import upgrade
from doorstep_cloud.devices.authority import moment_of
from doorstep_cloud.ingest.access import first_access_list
from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE, Databases
from doorstep_cloud.store.soundness import is_no_room, no_room, require_sound
from doorstep_shared.errors import DoorstepError, RefusedError

ADMIN_SOCKET: Final = "admin.sock"
SPOOL: Final = "spool"
BROKER_ACCESS: Final = "broker/access.json"

_LOCK: Final = "lock"


class StateFolderError(RefusedError):
    """The state folder is missing, somebody else's, or in use."""


def migrate(folder: Path, broker_names: Sequence[str], now_ms: int) -> list[str]:
    """Make or bring up to date whatever the service keeps; return what was done, in words.

    Idempotent. The folder, and everything in it, is for its owner only.

    Raises:
        StateFolderError: The folder cannot be made, or the service is running on it.
        UnsoundDatabaseError: A database is damaged or lost; it is not made anew.
        UnusableDatabaseError: The disk takes nothing more, or nothing from us.
    """
    done = []
    if not folder.is_dir():
        _make(folder)
        done.append(f"made the state folder {folder}")
    with held(folder), _disk_in_words(folder):
        require_sound(folder)
        (folder / SPOOL).mkdir(mode=0o700, exist_ok=True)
        with closing(Databases.open(folder)) as databases:
            done += upgrade(databases)
        done += create_missing(folder, broker_names, moment_of(now_ms))
        if not (folder / BROKER_ACCESS).exists():
            write_private(folder / BROKER_ACCESS, first_access_list().encode())
            done.append("made the access list that a broker begins with")
    return done


def is_state_folder(folder: Path) -> bool:
    """Return whether a service's databases are in ``folder``, or one of them."""
    return any((folder / name).exists() for name in (MAIN_FILE, VAULT_FILE))


def require_folder(folder: Path) -> None:
    """Return if ``folder`` is a state folder to start the service on.

    Raises:
        StateFolderError: There is none.
    """
    if not is_state_folder(folder):
        raise StateFolderError(
            f"there is no state folder at {folder}",
            safe="Nothing was started.",
            do="doorstep-cloud migrate        (makes one there; or name another with "
            "DOORSTEP_CLOUD_STATE_DIR)",
        )


def require_folder_to_copy(folder: Path) -> None:
    """Return if ``folder`` is a state folder to make a backup of.

    Raises:
        StateFolderError: There is none. Making one would make a service without anything.
    """
    if not is_state_folder(folder):
        raise StateFolderError(
            f"no running service answers, and there is no state folder at {folder}",
            safe="Nothing was copied, and nothing was made.",
            do="export DOORSTEP_CLOUD_STATE_DIR=FOLDER        (the service's own; then the same "
            "again)",
        )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep every other process of the service off ``folder``.

    SQLite would let a second process in, and its writers would wait for ours and
    time out; so one process is the rule on SQLite.

    Raises:
        StateFolderError: Another process has it, or the folder is not ours.
    """
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _refused(folder, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise _in_use(folder, os.pread(lock, 20, 0).decode() or "unknown") from error
        os.ftruncate(lock, 0)
        with _disk_in_words(folder):
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(lock)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise _refused(folder, error) from error


@contextmanager
def _disk_in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(folder, error) from error


def _refused(folder: Path, error: OSError) -> DoorstepError:
    return no_room(folder) if is_no_room(error) else _not_ours(folder, error)


def _in_use(folder: Path, process: str) -> StateFolderError:
    return StateFolderError(
        f"another doorstep-cloud, process {process}, works on {folder}; "
        "on SQLite there is one at a time",
        safe="Nothing was changed.",
        do=f"Stop it first: Ctrl-C where `make up` runs, if that started it; else kill {process}, "
        "and whatever would start it again. Several processes at once need PostgreSQL in place of "
        "SQLite, which this version does not speak yet.",
    )


def _not_ours(folder: Path, error: OSError) -> StateFolderError:
    return StateFolderError(
        f"the state folder {folder} cannot be used: {error.strerror}",
        safe="Nothing was changed.",
        do="Choose another with DOORSTEP_CLOUD_STATE_DIR, or correct its owner.",
    )
