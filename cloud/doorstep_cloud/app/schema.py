"""The two databases' tables, as Alembic keeps them: one history each, from the first day."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

import doorstep_cloud.clips.tables
import doorstep_cloud.devices.tables
import doorstep_cloud.events.tables
import doorstep_cloud.households.tables
import doorstep_cloud.store.tables  # noqa: F401  # each adds its tables to the bases
from doorstep_cloud.store.backups import LABEL_TABLE
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.soundness import trouble_with
from doorstep_shared.errors import RefusedError

_FOLDER: Final = Path(__file__).parent.parent / "migrations"


class NotMigratedError(RefusedError):
    """The tables are not the ones this version works with."""


def upgrade(databases: Databases) -> list[str]:
    """Bring both databases to this version's tables; return what was done, in words.

    Safe to repeat. A step that fails leaves its database as it was.

    Raises:
        NotMigratedError: A later version made the tables of one.
        DoorstepError: One cannot be read or written, as `trouble_with` says.
    """
    done = []
    for name, engine in _engines(databases).items():
        before, head = _current(engine), _head(name)
        if before == head:
            continue
        if before is not None and not is_known(name, before):
            raise _unknown(name, before)
        config = _config(name)
        with _in_words(engine), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        done.append(f"{name} database: {before or 'empty'} → {head}")
    return done


def require_current(databases: Databases) -> None:
    """Return if both databases have this version's tables.

    Raises:
        NotMigratedError: One has not.
        DoorstepError: One cannot be read, as `trouble_with` says.
    """
    for name, engine in _engines(databases).items():
        current = _current(engine) if _path(engine).exists() else None
        if current != _head(name):
            if current is not None and not is_known(name, current):
                raise _unknown(name, current)
            raise NotMigratedError(
                f"the {name} database is at {current or 'nothing yet'}, "
                f"and this version works with {_head(name)}",
                safe="Nothing was changed.",
                do="doorstep-cloud migrate",
            )


def is_known(name: str, revision: str | None) -> bool:
    """Return whether ``revision`` is one that this version has tables of, or can bring up to date.

    Args:
        name: Of the database, ``main`` or ``vault``.
        revision: As `revision_in` found it.
    """
    known = {step.revision for step in ScriptDirectory.from_config(_config(name)).walk_revisions()}
    return revision in known


def revision_in(connection: sqlite3.Connection) -> str | None:
    """Return at which step of its history a database is; None if it has no such history."""
    try:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return None if found is None else str(found[0])


def find_oddity(name: str, revision: str, connection: sqlite3.Connection) -> str | None:
    """Return in what a database is not as our history made it at its step; None if it is.

    Tables are compared by their columns, for the words that made them change with the library
    that writes them; all else by kind and name. No step has a trigger or a view.

    Args:
        name: Of the database, ``main`` or ``vault``.
        revision: Its step, one that `is_known`.
        connection: On it; its label is not looked at.

    Raises:
        sqlite3.DatabaseError: It is damaged.
    """
    found, wanted = _things_in(connection), _things_at(name, revision)
    for kind, called in sorted(found.keys() ^ wanted.keys()):
        return f"{'an unknown' if (kind, called) in found else 'no'} {kind} {called}"
    for (kind, called), columns in sorted(wanted.items()):
        if found[kind, called] != columns:
            return f"other columns in {kind} {called}"
    return None


_Things = Mapping[tuple[str, str], Sequence[object]]
"""By kind and name, what is in a database; with the columns of what has some."""


def _things_at(name: str, revision: str) -> _Things:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as empty:
        engine = create_engine("sqlite://", creator=lambda: empty, poolclass=StaticPool)
        config = _config(name)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        return _things_in(empty)


def _things_in(connection: sqlite3.Connection) -> _Things:
    names = connection.execute("SELECT type, name FROM sqlite_master ORDER BY name").fetchall()
    return {
        (kind, called): connection.execute(
            'SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?)', (called,)
        ).fetchall()
        for kind, called in names
        # SQLite's own are a matter of its version; the label is a copy's.
        if called != LABEL_TABLE
        and not (kind in ("table", "index") and called.startswith("sqlite_"))
    }


def _engines(databases: Databases) -> Mapping[str, Engine]:
    return {"vault": databases.vault, "main": databases.main}


def _config(name: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER / name).replace("%", "%%"))
    return config


def _head(name: str) -> str | None:
    return ScriptDirectory.from_config(_config(name)).get_current_head()


def _current(engine: Engine) -> str | None:
    with _in_words(engine), engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _unknown(name: str, current: str) -> NotMigratedError:
    return NotMigratedError(
        f"the {name} database is at {current}, which this version does not know: "
        "a later one made it",
        safe="Nothing was changed.",
        do="Install that version again, or restore a backup that this version made.",
    )


@contextmanager
def _in_words(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DatabaseError as error:
        raise trouble_with(_path(engine), error.orig) from error


def _path(engine: Engine) -> Path:
    return Path(engine.url.database or "")
