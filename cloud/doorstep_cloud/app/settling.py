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
from doorstep_cloud.households.restoring import (
    RESTORED,
    drop_revoked_tokens,
    drop_ways_in,
    knows_households,
)
from doorstep_cloud.store.backups import LABEL_TABLE, BadBackupError, Label, Which, read_label
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.passes import forget_finding, note_pass

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Settled:
    """What a start did after a restore.

    Attributes:
        restored: The databases that were put back.
        deletions_carried: Deletions that only a main set aside knew.
        envelopes_dropped: Clips that main says were deleted, and the vault still opened.
        clips_buried: Clips that the vault opens no more: deleted, or lost with it.
        clips_beyond_vault: Of households that this vault does not know: it must be restored too.
        sessions_ended: Everybody signs in anew; their clients do it by themselves.
        tokens_ended: Past their end, or revoked since the backup.
        is_aside_read: Whether the main that was in use, and any set aside since, could be
            asked, and knew the restored households; else a token that was revoked since the
            backup is good again, and so is a clip that was deleted since, if the vault was
            put back too.
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
        # All of them: one was in use, and those after it were never started from.
        answers = [_ask_aside(unit, folder / name, done) for name in main.asides]
        done.is_aside_read = None not in answers and True in answers
    done.envelopes_dropped = drop_envelopes_of_tombstones(unit)
    # Whoever put the wrong file in place has a day to see it: nothing goes by age, nor for
    # being known to one side only.
    note_pass(unit, EXPIRE, 0)
    forget_finding(unit, LOST_SINCE)
    # A vault that is older than main lacks what a doorbell may be sending just now, and will
    # bring again. A main that is older than the vault lacks deletions, of any clip.
    done.clips_buried = bury_unopenable(unit, now_ms, stored_only=main is None)
    done.clips_beyond_vault = count_beyond_vault(unit)


def _ask_aside(unit: Unit, path: Path, done: Settled) -> bool | None:
    """Take from a main set aside what it knew to have ended.

    Returns:
        Whether it was in use, and knew the households there are; None if it is beyond reading.
    """
    try:
        with _opened_aside(path) as (aside, label), unit.main.begin_nested():
            was_in_use = label is None or label.restored_at_ms is None
            made_at_ms = None if label is None or was_in_use else label.made_at_ms
            carried = carry_tombstones(unit, aside)
            revoked = drop_revoked_tokens(unit, aside, made_at_ms)
            knew_all = knows_households(unit, aside)
    except (DatabaseError, sqlite3.DatabaseError, BadBackupError):
        # Damaged, as it may well be, gone, or of another version's tables.
        return None
    done.deletions_carried += carried
    done.tokens_ended += revoked
    return was_in_use and knew_all


@contextmanager
def _opened_aside(path: Path) -> Iterator[tuple[Session, Label | None]]:
    address = f"{path.absolute().as_uri()}?mode=ro&immutable=1&uri=true"
    engine = create_engine(f"sqlite:///{address}", hide_parameters=True)
    try:
        label = _label(engine)
        with Session(engine) as session:
            yield session, label
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
    if set(restored) == set(Which) and not done.is_aside_read:
        # Neither side knows any more what was deleted since; who deleted it may.
        _log.warning(
            "deletions_forgotten",
            backup_of_ms=restored[Which.MAIN].made_at_ms,
            do="doorstep status        (on each computer that deletes: it deletes again, by its "
            "receipts; what was deleted elsewhere since then is to be deleted once more)",
        )
