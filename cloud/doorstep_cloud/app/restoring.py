"""`doorstep-cloud restore`: a backup put in a database's place, whole or not at all.

What is checked is what is put there: the file is copied into the state folder first, and
read only from then on. The database that was there is set aside under a second name before
the copy takes the first in one step, so that at every moment one of the two is in place.
Until the service's next start the copy keeps its label, which tells that start what to do
(`doorstep_cloud.app.settling`). If it is replaced before, it is set aside as what it is, a
backup as old as ever, and the next copy's label names what *it* had replaced as well.
"""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from doorstep_cloud.app.backups import (
    FOREIGN,
    is_young,
    newest_vault_backup,
    purge_vault_backups,
    remove_halves,
    time_name,
    vault_backups,
)
from doorstep_cloud.app.schema import find_oddity, is_known, revision_in
from doorstep_cloud.app.state import StateFolderError, held
from doorstep_cloud.store.backups import (
    SQLITE_HEADER,
    BadBackupError,
    Label,
    Progress,
    Which,
    find_flaw,
    is_damage,
    make_private,
    opened,
    opened_to_read,
    read_label,
    remove_files,
    sync,
    tables_of,
    write_label,
)
from doorstep_cloud.store.moments import to_rfc3339
from doorstep_shared.errors import RefusedError, TryLaterError

_DRAFT: Final = ".restoring"
_PIECE_BYTES: Final = 1024 * 1024
_UNCHANGED: Final = "The database that is there was left as it is."


class TooOldError(RefusedError):
    """A backup of the vault opens what may have been deleted since."""


class RestoreUnfinishedError(TryLaterError):
    """The disk did not take what a restore writes."""


def restore(
    folder: Path, which: Which, file: Path | None, now_ms: int, progress: Progress
) -> list[str]:
    """Put a backup in its database's place; return what was done, in words.

    Args:
        folder: The state folder of a service that does not run.
        which: Of the two databases.
        file: The backup; None for the newest of the vault.
        now_ms: Unix milliseconds.
        progress: Bytes copied, and bytes in all.

    Raises:
        StateFolderError: There is no state folder, or the service is running on it.
        BadBackupError: The file is no backup of this database, or is damaged.
        TooOldError: It is of the vault, and a day old.
        RestoreUnfinishedError: The disk is full, or going; nothing was changed.
    """
    if not folder.is_dir():
        raise StateFolderError(
            f"there is no state folder at {folder}",
            safe="Nothing was changed.",
            do="doorstep-cloud migrate        (makes one; then restore into it)",
        )
    with held(folder):
        clean_up(folder, now_ms)
        source = _newest(folder) if file is None else file
        draft = folder / (which.file + _DRAFT)
        with _translated(source):
            try:
                _copy(source, draft, progress)
                label = _checked(draft, source, which, now_ms)
                before = _before(folder, which, now_ms)
                aside = None if before is None else _aside(folder, before)
                _relabel(draft, folder, replace(label, restored_at_ms=now_ms), before, aside)
                if before is not None and aside is not None:
                    _set_aside(folder / which.file, aside, before)
                draft.replace(folder / which.file)
                sync(folder)
            finally:
                with suppress(OSError):
                    remove_files(draft)
        # Set aside, a backup of the vault is no younger than before.
        purge_vault_backups(folder, now_ms)
    return _words(which, source, label, aside)


def clean_up(folder: Path, now_ms: int) -> int:
    """Remove what killed commands left in the state folder; return how many backups went.

    Args:
        folder: The state folder; the caller holds it.
        now_ms: Unix milliseconds; the vault's backups end by it.
    """
    for which in Which:
        remove_files(folder / (which.file + _DRAFT))
        for aside in _asides(folder, which):
            _undo_half(folder / which.file, aside)
    remove_halves(folder)
    return purge_vault_backups(folder, now_ms)


def _undo_half(current: Path, aside: Path) -> None:
    """Take a second name from the database in use: the restore that gave it went no further."""
    if current.exists() and aside.samefile(current):
        _move_logs(aside, current)
        aside.unlink()


def _newest(folder: Path) -> Path:
    found = newest_vault_backup(folder)
    if found is None:
        raise BadBackupError(
            "there is no backup of the vault that is less than a day old",
            safe=_UNCHANGED,
            do="doorstep-cloud backup vault        (daily at least; older ones are removed)",
        )
    return found


def _copy(source: Path, draft: Path, progress: Progress) -> None:
    """Copy the bytes of ``source``, which must look like a database, into the state folder."""
    kind = source.stat().st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        # A pipe would be waited for, and the state folder held for as long.
        raise _bad(source, "it is no file, but a pipe, a socket or a device")
    with source.open("rb") as reading:
        total = os.fstat(reading.fileno()).st_size
        start = reading.read(len(SQLITE_HEADER))
        if start != SQLITE_HEADER:
            raise _bad(source, "it is empty" if not total else "it is no database")
        make_private(draft)
        done = 0
        reading.seek(0)
        with draft.open("r+b") as writing:
            while piece := reading.read(_PIECE_BYTES):
                writing.write(piece)
                done += len(piece)
                progress(done, total)


def _checked(draft: Path, source: Path, which: Which, now_ms: int) -> Label:
    """Return the label of a copy that may be put in place."""
    try:
        with opened_to_read(draft) as copy:
            tables, label, revision = tables_of(copy), read_label(copy), revision_in(copy)
            flaw = find_flaw(copy, lambda: None)
            oddity = (
                find_oddity(which.value, revision, copy)
                if revision is not None and is_known(which.value, revision)
                else None
            )
    except sqlite3.DatabaseError as error:
        raise _bad(source, f"it is damaged: {error}") from error
    except BadBackupError as error:
        raise _bad(source, error.fact) from error
    if flaw is not None:
        raise _bad(source, f"it is damaged: {flaw}")
    if label is None:
        raise _bad(source, "doorstep-cloud did not make it")
    if label.which is not which or tables & set(FOREIGN[which]):
        raise _bad(source, f"it is one of {label.which.value}, not of {which.value}")
    if not is_known(which.value, revision):
        raise _bad(source, f"its tables are at {revision or 'nothing'}, which this version lacks")
    if oddity is not None:
        raise _bad(source, f"it is not as this service makes them, with {oddity}")
    if which is Which.VAULT and not is_young(label.made_at_ms, now_ms):
        raise _too_old(source, label.made_at_ms, now_ms)
    return label


def _before(folder: Path, which: Which, now_ms: int) -> Label | None:
    """Return what the database that is there is a backup of, once set aside; None if none is.

    One that was in use is of now. One that was put back, and that no start has settled,
    stays as old as it is: only this moment has a younger name for it.
    """
    current = folder / which.file
    if not current.exists():
        return None
    label = None
    with _damage_passed(), opened(current) as connection:
        label = read_label(connection)
    if label is None or label.restored_at_ms is None:
        return Label(which, now_ms)
    return label


def _relabel(
    draft: Path, folder: Path, label: Label, before: Label | None, aside: Path | None
) -> None:
    """Let a checked copy say when it was put in place, and where all that it replaces is."""
    names = () if before is None else before.asides
    if aside is not None:
        names = (*names, str(aside.relative_to(folder)))
    with opened(draft) as copy:
        write_label(copy, replace(label, asides=names))
    sync(draft)


def _set_aside(current: Path, aside: Path, label: Label) -> None:
    """Give the database that is there a second name."""
    _close_up(current, label)
    try:
        os.link(current, aside)
    except OSError:
        # A file system without links.
        shutil.copyfile(current, aside)
        sync(aside)
    aside.chmod(0o600)
    # What a damaged one could not take in must not be taken for the copy's.
    _move_logs(current, aside)
    sync(aside.parent)


def _close_up(path: Path, label: Label) -> None:
    """Bring a database and its log into one file that is a backup itself, if it is sound."""
    with _damage_passed():
        with opened(path) as connection:
            write_label(connection, label)
        sync(path)


@contextmanager
def _damage_passed() -> Iterator[None]:
    try:
        yield
    except BadBackupError:
        # A label that says nothing.
        return
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise


def _move_logs(before: Path, after: Path) -> None:
    for side in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            before.with_name(before.name + side).rename(after.with_name(after.name + side))


def _aside(folder: Path, label: Label) -> Path:
    """Return a free name for what is set aside; earlier rather than later, if one is taken."""
    at_ms = label.made_at_ms
    while os.path.lexists(found := _aside_of(folder, label.which, at_ms)):
        at_ms -= 1
    return found


def _aside_of(folder: Path, which: Which, at_ms: int) -> Path:
    name = f"before-restore-{time_name(at_ms)}"
    if which is Which.VAULT:
        return vault_backups(folder) / f"{name}.db"
    return folder / f"{which.file}.{name}"


def _asides(folder: Path, which: Which) -> Iterator[Path]:
    if which is Which.VAULT:
        return vault_backups(folder).glob("before-restore-*.db")
    return folder.glob(f"{which.file}.before-restore-*Z")


def _words(which: Which, source: Path, label: Label, aside: Path | None) -> list[str]:
    done = [f"{which.file} is now what it was at {to_rfc3339(label.made_at_ms)}: {source}"]
    if aside is not None and not aside.exists():
        done.append("What was there was as old as a backup of the vault may become, and is gone.")
    elif aside is not None:
        done.append(f"What was there is now {aside}.")
        if which is Which.VAULT:
            done.append("It is a backup of the vault like any other, and goes within a day of it.")
    done += [
        "At its next start the service deletes again what was deleted meanwhile.",
        "If the other database is lost too, restore it before that start.",
        "Next: doorstep-cloud migrate, then doorstep-cloud all",
    ]
    return done


@contextmanager
def _translated(source: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, PermissionError, NotADirectoryError) as error:
        raise _bad(source, f"it cannot be read: {error.strerror}") from error
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RestoreUnfinishedError(
            f"{source} could not be put in place ({why})",
            safe=_UNCHANGED,
            do="Make room in the state folder, then say the same again.",
        ) from error


def _bad(source: Path, why: str) -> BadBackupError:
    return BadBackupError(
        f"{source} cannot be restored: {why}",
        safe=_UNCHANGED,
        do="Name a file that doorstep-cloud backup made, with this version or an older one.",
    )


def _too_old(source: Path, made_at_ms: int, now_ms: int) -> TooOldError:
    moment = to_rfc3339(made_at_ms)
    age = "a day old or more" if made_at_ms < now_ms else "from the future, by this clock"
    return TooOldError(
        f"{source} is of {moment}, {age}: it opens what may have been deleted since",
        safe=f"{_UNCHANGED} What a person deleted stays closed.",
        do="doorstep-cloud restore vault        (the newest that is younger, if there is one)",
    )
