"""Where the backups of the two databases go, and for how long: main anywhere else, vault a day.

What is deleted from the vault must be in no backup of it a day later. So its backups lie in
one folder, named by when they began, and go in time. What lists things is kept apart from
what opens them: a backup of main lies outside the state folder, and holds no table of vault's.
"""

import re
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import doorstep_cloud.app.schema  # noqa: F401  # it brings every table to the bases
from doorstep_cloud.store.backups import (
    BackupPlaceError,
    BackupUnfinishedError,
    Label,
    Progress,
    Which,
    remove_files,
    write_copy,
)
from doorstep_cloud.store.base import MainBase, VaultBase
from doorstep_shared.errors import TryLaterError

VAULT_BACKUPS: Final = "vault-backups"
"""In the state folder; 0700."""

VAULT_KEPT_MS: Final = 24 * 3600 * 1000
"""Older ones are not put back, whoever kept them."""

# Whoever removes them looks every ten minutes; the promise is a day, not a day and ten minutes.
_REMOVED_AFTER_MS: Final = VAULT_KEPT_MS - 30 * 60 * 1000

# Two clocks of one machine differ by less; a clock that was put right, by more.
_CLOCK_SLACK_MS: Final = 5 * 60 * 1000

_NAME: Final = re.compile(
    r"\.?(?:vault|before-restore)-(\d{8}T\d{6}\.\d{3}Z)\.db(?:\.part)?(?:-(?:journal|wal|shm))?"
)
_TIME: Final = "%Y%m%dT%H%M%S"

FOREIGN: Final[Mapping[Which, Collection[str]]] = {
    Which.MAIN: frozenset(VaultBase.metadata.tables),
    Which.VAULT: frozenset(MainBase.metadata.tables),
}
"""The tables that no copy of this database may hold."""


class BackupBusyError(TryLaterError):
    """One backup is made at a time."""


class Backups:
    """Makes the backups of one state folder, one at a time."""

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self._folder = folder
        self._clock = clock
        self._making = threading.Lock()
        self._is_stopping = threading.Event()

    def make(self, which: Which, target: Path | None, progress: Progress) -> Path:
        """Return the new backup: whole, checked and on the disk.

        Args:
            which: Of the two databases.
            target: Where main's goes; vault's place is not anybody's choice.
            progress: As `write_copy` tells it.

        Raises:
            BackupPlaceError, BackupUnfinishedError, DamagedDatabaseError: As `write_copy`.
            BackupBusyError: Another is being made.
        """
        if not self._making.acquire(blocking=False):
            raise BackupBusyError(
                "another backup is being made just now",
                safe="It goes on.",
                do="Try again in a minute.",
            )
        try:
            return self._make(which, target, progress)
        finally:
            self._making.release()

    def stop(self) -> None:
        """Give up the backup that is being made; nothing of it stays. No other begins."""
        self._is_stopping.set()

    def wait(self) -> None:
        """Return when none is being made any more."""
        with self._making:
            return

    def _make(self, which: Which, target: Path | None, progress: Progress) -> Path:
        now_ms = self._clock()
        purge_vault_backups(self._folder, now_ms)
        place = self._vault_place(now_ms) if target is None else self._main_place(target)

        def go_on(done: int, total: int) -> None:
            if self._is_stopping.is_set():
                raise BackupUnfinishedError(
                    "the service was told to stop while it made a backup",
                    safe="Nothing of it was left there.",
                    do=f"doorstep-cloud backup {which.value} …        (once more)",
                )
            progress(done, total)

        source = self._folder / which.file
        write_copy(source, place, Label(which, now_ms), FOREIGN[which], go_on)
        return place

    def _vault_place(self, now_ms: int) -> Path:
        folder = vault_backups(self._folder)
        return folder / f"vault-{time_name(now_ms)}.db"

    def _main_place(self, target: Path) -> Path:
        if target.resolve().is_relative_to(self._folder.resolve()):
            raise BackupPlaceError(
                f"{target} is in the state folder",
                safe="Nothing was written.",
                do="Name a place outside it, best on another disk: what takes the one must not "
                "take the other, and a copy of main does not lie beside the vault.",
            )
        return target


def purge_vault_backups(folder: Path, now_ms: int) -> int:
    """Remove the vault's backups that will soon be a day old; return how many went.

    So do those from the future: nobody can tell how old they are. Halves that a killed
    command left behind go by the same rule.

    Args:
        folder: The state folder.
        now_ms: Unix milliseconds by the service's clock.
    """
    removed = 0
    for path in _entries(folder):
        made_at_ms = made_at(path)
        if made_at_ms is not None and not is_young(made_at_ms, now_ms, _REMOVED_AFTER_MS):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def newest_vault_backup(folder: Path) -> Path | None:
    """Return the newest backup of the vault; None if there is none."""
    found = (path for path in _entries(folder) if path.name.startswith("vault-"))
    return max((path for path in found if path.suffix == ".db"), default=None)


def remove_halves(folder: Path) -> None:
    """Remove the vault's backups that never came to their end; nobody may be making one."""
    for path in _entries(folder):
        if path.name.startswith("."):
            remove_files(path)


def is_young(made_at_ms: int, now_ms: int, kept_ms: int = VAULT_KEPT_MS) -> bool:
    """Return whether a backup of that moment is within its time, and not from the future."""
    return -_CLOCK_SLACK_MS <= now_ms - made_at_ms < kept_ms


def vault_backups(folder: Path) -> Path:
    """Return the folder of the vault's backups, which is there afterwards."""
    found = folder / VAULT_BACKUPS
    found.mkdir(mode=0o700, exist_ok=True)
    return found


def time_name(at_ms: int) -> str:
    """Return a moment for the name of a file: sorted by name, sorted by time."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{moment.strftime(_TIME)}.{at_ms % 1000:03d}Z"


def made_at(path: Path) -> int | None:
    """Return when the vault's backup of this name began to be made; None if it is no such name."""
    matched = _NAME.fullmatch(path.name)
    if matched is None:
        return None
    with suppress(ValueError):
        moment = datetime.strptime(matched[1][:15], _TIME).replace(tzinfo=UTC)
        return int(moment.timestamp()) * 1000 + int(matched[1][16:19])
    return None


def _entries(folder: Path) -> list[Path]:
    found = folder / VAULT_BACKUPS
    return sorted(found.iterdir()) if found.is_dir() else []
