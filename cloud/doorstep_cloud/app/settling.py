"""The first start after a restore: the two databases are made to agree again.

A database that was put back carries its label until this has been done to its end, so that
a start which is cut off does it again; done twice, it changes nothing.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from doorstep_cloud.app.jobs import EXPIRE
from doorstep_cloud.app.sweep import LOST_SINCE
from doorstep_cloud.clips.restoring import (
    bury_unopenable,
    carry_tombstones,
    count_beyond_vault,
    drop_envelopes_of_tombstones,
)
from doorstep_cloud.households.restoring import RESTORED, drop_revoked_tokens, drop_ways_in
from doorstep_cloud.store.backups import LABEL_TABLE, Label, Which, read_label
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.passes import forget_finding, note_pass

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Settled:
    """What a start did after a restore.

    Attributes:
        restored: The databases that were put back.
        deletions_carried: Deletions that only the main set aside knew.
        envelopes_dropped: Clips that main says were deleted, and the vault still opened.
        clips_buried: Clips that the vault opens no more: deleted, or lost with it.
        clips_beyond_vault: Of households that this vault does not know: it must be restored too.
        sessions_ended: Everybody signs in anew; their clients do it by themselves.
        tokens_ended: Past their end, or revoked since the backup.
        is_aside_read: Whether the main set aside could be asked; without it, a token that
            was revoked since the backup is good again.
    """

    restored: tuple[Which, ...]
    deletions_carried: int = 0
    envelopes_dropped: int = 0
    clips_buried: int = 0
    clips_beyond_vault: int = 0
    sessions_ended: int = 0
    tokens_ended: int = 0
    is_aside_read: bool = False


def settle_restored(databases: Databases, folder: Path, now_ms: int) -> Settled | None:
    """Make the databases agree if one was put back since the last start; None if not.

    Args:
        databases: Those of ``folder``, at this version's tables; nobody else works on them.
        folder: The state folder; the caller holds it.
        now_ms: Unix milliseconds.

    Raises:
        DatabaseUnavailableError, VaultBusyError: Not done to its end; the next start does.
    """
    engines = {Which.VAULT: databases.vault, Which.MAIN: databases.main}
    found = {which: _label(engine) for which, engine in engines.items()}
    labels = {which: label for which, label in found.items() if label is not None}
    if not labels:
        return None
    restored = {which: label for which, label in labels.items() if label.restored_at_ms is not None}
    done = Settled(tuple(restored))
    if restored:
        with databases.write() as unit:
            _settle(unit, folder, restored.get(Which.MAIN), now_ms, done)
            unit.commit()
        databases.forget_deleted()
        _tell(restored, done)
    with databases.write() as unit:
        # Only now: whatever was cut off before is done again.
        for session in (unit.vault, unit.main):
            session.execute(text(f"DROP TABLE IF EXISTS {LABEL_TABLE}"))
        unit.commit()
    return done if restored else None


def _settle(unit: Unit, folder: Path, main: Label | None, now_ms: int, done: Settled) -> None:
    if main is not None:
        note_pass(unit, RESTORED, now_ms)
        dropped = drop_ways_in(unit, now_ms)
        done.sessions_ended, done.tokens_ended = dropped.sessions, dropped.tokens
        with _aside(folder, main) as aside:
            if aside is not None:
                _ask_aside(unit, aside, done)
    done.envelopes_dropped = drop_envelopes_of_tombstones(unit)
    # Whoever put the wrong file in place has a day to see it: nothing goes by age, nor for
    # being known to one side only.
    note_pass(unit, EXPIRE, 0)
    forget_finding(unit, LOST_SINCE)
    # A vault that is older than main lacks what a doorbell may be sending just now, and will
    # bring again. A main that is older than the vault lacks deletions, of any clip.
    done.clips_buried = bury_unopenable(unit, now_ms, stored_only=main is None)
    done.clips_beyond_vault = count_beyond_vault(unit)


def _ask_aside(unit: Unit, aside: Session, done: Settled) -> None:
    """Take from the main set aside what ended while it was in use; it may be beyond reading."""
    try:
        with unit.main.begin_nested():
            done.deletions_carried = carry_tombstones(unit, aside)
            done.tokens_ended += drop_revoked_tokens(unit, aside)
            done.is_aside_read = True
    except DatabaseError:
        # Damaged, as it may well be, or of another version's tables.
        done.deletions_carried = 0


@contextmanager
def _aside(folder: Path, main: Label) -> Iterator[Session | None]:
    if main.aside is None or not (folder / main.aside).exists():
        yield None
        return
    address = f"{(folder / main.aside).absolute().as_uri()}?mode=ro&immutable=1&uri=true"
    engine = create_engine(f"sqlite:///{address}", hide_parameters=True)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def _label(engine: Engine) -> Label | None:
    with closing(engine.raw_connection()) as connection:
        found: sqlite3.Connection = connection.driver_connection  # type: ignore[assignment]  # it is SQLite's
        return read_label(found)


def _tell(restored: dict[Which, Label], done: Settled) -> None:
    for which, label in restored.items():
        _log.warning("database_restored", database=which.value, backup_of_ms=label.made_at_ms)
    _log.warning(
        "restore_settled",
        deletions_carried=done.deletions_carried,
        envelopes_dropped=done.envelopes_dropped,
        clips_buried=done.clips_buried,
        clips_beyond_vault=done.clips_beyond_vault,
        sessions_ended=done.sessions_ended,
        tokens_ended=done.tokens_ended,
        is_aside_read=done.is_aside_read,
        # Members' computers know what the households signed since, and give it back.
        do="doorstep status        (each household: its computer gives back what is missing here)",
    )
    if done.clips_beyond_vault:
        _log.warning(
            "vault_lacks_households",
            clips=done.clips_beyond_vault,
            do="doorstep-cloud restore vault        (within a day of the loss, service stopped)",
        )
