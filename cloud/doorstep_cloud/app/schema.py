"""The two databases' tables, as Alembic keeps them: one history each, from the first day."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

import doorstep_cloud.clips.tables
import doorstep_cloud.devices.tables
import doorstep_cloud.events.tables
import doorstep_cloud.households.tables
import doorstep_cloud.store.tables  # noqa: F401  # each adds its tables to the bases
from doorstep_cloud.store.databases import Databases
from doorstep_shared.errors import RefusedError

_FOLDER: Final = Path(__file__).parent.parent / "migrations"


class NotMigratedError(RefusedError):
    """The tables are not the ones this version works with."""


def upgrade(databases: Databases) -> list[str]:
    """Bring both databases to this version's tables; return what was done, in words.

    Safe to repeat. A step that fails leaves its database as it was.
    """
    done = []
    for name, engine in _engines(databases).items():
        before, head = _current(engine), _head(name)
        if before == head:
            continue
        config = _config(name)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        done.append(f"{name} database: {before or 'empty'} → {head}")
    return done


def require_current(databases: Databases) -> None:
    """Return if both databases have this version's tables.

    Raises:
        NotMigratedError: One has not.
    """
    for name, engine in _engines(databases).items():
        if (current := _current(engine)) != _head(name):
            raise NotMigratedError(
                f"the {name} database is at {current or 'nothing yet'}, "
                f"and this version works with {_head(name)}",
                safe="Nothing was changed.",
                do="doorstep-cloud migrate",
            )


def _engines(databases: Databases) -> Mapping[str, Engine]:
    return {"vault": databases.vault, "main": databases.main}


def _config(name: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER / name).replace("%", "%%"))
    return config


def _head(name: str) -> str | None:
    return ScriptDirectory.from_config(_config(name)).get_current_head()


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()
