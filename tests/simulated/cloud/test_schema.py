"""The two databases' histories end where the tables are."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, LargeBinary, inspect, text
from sqlalchemy.engine.interfaces import ReflectedColumn

from doorstep_cloud.app.credentials import MissingCredentialsError, read_credentials
from doorstep_cloud.app.schema import NotMigratedError, _head, require_current, upgrade
from doorstep_cloud.app.state import StateFolderError, held, migrate, require_folder
from doorstep_cloud.store.base import MainBase, VaultBase
from doorstep_cloud.store.databases import Databases, sqlite_engine
from tests.cloud_world import open_empty
from tests.people import DAY_MS, NOW_MS

GOLDEN = Path(__file__).parents[2] / "golden" / "schema"


def columns(found: list[ReflectedColumn]) -> list[tuple[object, ...]]:
    return [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found]


def shape(engine: Engine) -> dict[str, object]:
    """Return all that makes a database: columns, keys, constraints, indexes."""
    look = inspect(engine)
    names = set(look.get_table_names()) - {"alembic_version"}
    return {
        name: (
            columns(look.get_columns(name)),
            look.get_pk_constraint(name),
            sorted(look.get_foreign_keys(name), key=str),
            sorted(look.get_unique_constraints(name), key=str),
            sorted(look.get_check_constraints(name), key=str),
            sorted(look.get_indexes(name), key=str),
        )
        for name in sorted(names)
    }


@pytest.mark.parametrize("name", ["main", "vault"])
def test_the_history_makes_exactly_the_tables_of_the_code(tmp_path: Path, name: str) -> None:
    migrated = Databases.open(tmp_path)
    upgrade(migrated)
    straight = sqlite_engine(tmp_path / "straight.db")
    metadata = {"main": MainBase, "vault": VaultBase}[name].metadata
    metadata.create_all(straight)
    assert shape(getattr(migrated, name)) == shape(straight)
    assert shape(straight)
    straight.dispose()
    migrated.close()


@pytest.mark.parametrize("name", ["main", "vault"])
def test_a_step_of_the_history_makes_what_it_always_made(tmp_path: Path, name: str) -> None:
    # A service in the field has the tables of the version that made them. A difference here is
    # a step that was changed after somebody has taken it: what is new belongs into a further
    # step, with a file of its own.
    with open_empty(tmp_path) as databases:
        made = schema(getattr(databases, name))
    assert made == (GOLDEN / f"{name}-{_head(name)}.sql").read_text()


def schema(engine: Engine) -> str:
    """Return the SQL of everything in a database, in the order of names."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"
    with engine.connect() as connection:
        lines = "\n\n".join(f"{row.sql};" for row in connection.execute(text(query))).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines)


def test_bytes_are_blobs_and_numbers_have_64_bits() -> None:
    for base in (MainBase, VaultBase):
        for table in base.metadata.tables.values():
            for column in table.columns:
                kind = column.type
                is_bytes = column.type.python_type is bytes
                assert isinstance(kind, LargeBinary) is is_bytes, column
                if column.type.python_type is int:
                    assert str(kind) == "BIGINT", column


def test_migrating_again_does_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    first = migrate(folder, ["127.0.0.1"], NOW_MS)
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".db"}
    assert len(first) == 8
    assert migrate(folder, ["127.0.0.1"], NOW_MS) == []
    after = {path: path.read_bytes() for path in folder.rglob("*.*") if path.suffix != ".db"}
    assert before == after


def test_the_state_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    migrate(folder, ["127.0.0.1"], NOW_MS)
    assert folder.stat().st_mode & 0o777 == 0o700
    for path in folder.rglob("*"):
        if path.is_dir():
            assert path.stat().st_mode & 0o077 == 0, path
        elif path.suffix in {".key", ".pem"}:
            assert path.stat().st_mode & 0o777 == 0o600, path


def test_a_certificate_is_renewed_before_it_ends_and_the_ca_and_receipt_key_are_not(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    migrate(folder, ["127.0.0.1"], NOW_MS)
    pinned = {
        name: (folder / name).read_bytes()
        for name in ("ca/ca.pem", "receipt/receipt.pem", "receipt/receipt.key")
    }
    done = migrate(folder, ["127.0.0.1"], NOW_MS + (2 * 365 - 29) * DAY_MS)
    assert done == ["made the broker's certificate for 127.0.0.1", "made ingest's certificate"]
    assert pinned == {name: (folder / name).read_bytes() for name in pinned}


def test_a_new_name_for_the_broker_makes_a_new_certificate(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    migrate(folder, ["127.0.0.1"], NOW_MS)
    names = ["127.0.0.1", "broker.example"]
    done = migrate(folder, names, NOW_MS)
    assert done == ["made the broker's certificate for 127.0.0.1, broker.example"]


def test_an_empty_database_is_not_worked_with(tmp_path: Path) -> None:
    databases = Databases.open(tmp_path)
    with pytest.raises(NotMigratedError) as caught:
        require_current(databases)
    assert caught.value.do == "doorstep-cloud migrate"
    upgrade(databases)
    require_current(databases)
    databases.close()


def test_a_missing_state_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StateFolderError) as caught:
        require_folder(tmp_path / "nowhere")
    assert caught.value.do.split("   ")[0] == "doorstep-cloud migrate"
    assert caught.value.safe == "Nothing was started."


def test_one_process_at_a_time_works_on_a_state_folder(tmp_path: Path) -> None:
    with (
        held(tmp_path),
        pytest.raises(StateFolderError, match="one at a time") as caught,
        held(tmp_path),
    ):
        pytest.fail("two hold it")
    assert "PostgreSQL" in caught.value.do
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "odd" / "lock").mkdir(parents=True)
    for folder in (tmp_path / "file" / "state", tmp_path / "file", tmp_path / "odd"):
        with pytest.raises(StateFolderError, match="cannot be used"):
            migrate(folder, ["127.0.0.1"], NOW_MS)


@pytest.mark.parametrize(
    "name",
    [
        "ca/ca.pem",
        "ca/ca.key",
        "receipt/receipt.pem",
        "receipt/receipt.key",
        "broker/server.key",
        "ingest/client.pem",
    ],
)
def test_a_missing_or_foreign_key_stops_the_start(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "state"
    migrate(folder, ["127.0.0.1"], NOW_MS)
    kept = (folder / name).read_bytes()
    (folder / name).unlink()
    with pytest.raises(MissingCredentialsError, match="missing or broken"):
        read_credentials(folder)
    (folder / name).write_bytes(kept)
    swapped = {"ca/ca.key": "receipt/receipt.key", "receipt/receipt.key": "ca/ca.key"}
    if name in swapped:
        (folder / name).write_bytes((folder / swapped[name]).read_bytes())
        with pytest.raises(MissingCredentialsError):
            read_credentials(folder)


def test_keys_are_not_shown_when_printed(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    migrate(folder, ["127.0.0.1"], NOW_MS)
    shown = repr(read_credentials(folder))
    assert "receipt_key" not in shown
    assert "authority" not in shown
