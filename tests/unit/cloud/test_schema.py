"""The tables of both databases are what they were in every earlier version at this step.

A service in the field has its tables from the migrations of the version that made them. A
difference from `tests/golden/schema/` is a step that was changed after somebody has taken it:
what is new belongs into a further step, with a file of its own here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, text

from doorstep_cloud.app.schema import _engines, _head
from doorstep_cloud.store.base import MainBase, VaultBase
from tests.cloud_world import open_empty

GOLDEN = Path(__file__).parents[2] / "golden" / "schema"
TABLES = {"main": MainBase.metadata, "vault": VaultBase.metadata}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Engine]]:
    with open_empty(tmp_path_factory.mktemp("schema")) as databases:
        yield dict(_engines(databases))


def schema(engine: Engine) -> str:
    """Return the statements that made what is in a database, in the order of names."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"
    with engine.connect() as connection:
        lines = "\n\n".join(f"{row.sql};" for row in connection.execute(text(query))).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


@pytest.mark.parametrize("name", TABLES)
def test_migrations_make_the_tables_they_always_made(name: str, engines: dict[str, Engine]) -> None:
    assert schema(engines[name]) == (GOLDEN / f"{name}-{_head(name)}.sql").read_text()


@pytest.mark.parametrize(("name", "tables"), TABLES.items())
def test_migrations_make_the_tables_that_the_code_works_with(
    name: str, tables: MetaData, engines: dict[str, Engine]
) -> None:
    with engines[name].connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), tables) == []
