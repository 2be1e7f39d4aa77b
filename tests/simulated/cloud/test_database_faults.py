"""Databases that something happens to while the service runs: nothing half, 503, and well again."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import event, func, select, text
from starlette.testclient import TestClient

import doorstep_cloud.store.databases as module
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.events.tables import EventRow
from doorstep_cloud.ingest.control import ControlDesk
from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.inbox import Inbox, Message
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.errors import DatabaseUnavailableError
from doorstep_cloud.web.problems import MEDIA_TYPE
from doorstep_shared.signing import SigningKey
from doorstep_shared.topics import DeviceTopic, Leaf, parse_topic
from doorstep_shared.wire import Ack, decode_body
from tests.cloud_world import House, app_over, open_empty
from tests.people import HOUSEHOLD, NOW_MS, OWNER, doorbell, random_from
from tests.scripted_doorbell import make_event
from tests.services import store_nowhere

FRONT = doorbell("front")
FILES = ("main.db", "main.db-wal", "main.db-shm")

Fault: TypeAlias = Callable[[Databases, Path], Iterator[None]]


@pytest.fixture
def databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Databases]:
    monkeypatch.setattr(module, "_BUSY_S", 0.05)
    with open_empty(tmp_path):
        databases = Databases.open(tmp_path, is_new=False)
        House(databases, OWNER, HOUSEHOLD).welcome(FRONT)
        yield databases
        databases.close()


def locked(_: Databases, folder: Path) -> Iterator[None]:
    with closing(sqlite3.connect(folder / "main.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        yield


def full(databases: Databases, _: Path) -> Iterator[None]:
    def bound(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("pragma page_count").fetchone()[0]
        connection.execute(f"pragma max_page_count={pages}").close()

    event.listen(databases.main, "checkout", bound)
    # What is free in the pages that there are is taken first.
    with closing(sqlite3.connect(str(databases.main.url.database))) as other:
        other.execute("vacuum")
    try:
        yield
    finally:
        event.remove(databases.main, "checkout", bound)
        databases.main.dispose()


def gone(_: Databases, folder: Path) -> Iterator[None]:
    away = folder / "away"
    away.mkdir()
    for name in FILES:
        (folder / name).rename(away / name)
    yield
    assert not (folder / "main.db").exists()
    for name in FILES:
        (away / name).rename(folder / name)


def garbage(databases: Databases, folder: Path) -> Iterator[None]:
    databases.main.dispose()
    whole = (folder / "main.db").read_bytes()
    (folder / "main.db").write_bytes(random_from("noise")(4096) + whole[4096:])
    yield
    (folder / "main.db").write_bytes(whole)


FAULTS = (locked, full, gone, garbage)


@contextmanager
def during(fault: Fault, databases: Databases, folder: Path) -> Iterator[None]:
    with contextmanager(fault)(databases, folder):
        yield


class Desk:
    """A control desk that takes one message at a time, and what it acknowledged."""

    def __init__(self, databases: Databases) -> None:
        self.counters = IngestCounters()
        self.acknowledged: list[str] = []
        self._databases = databases

    def _publish(self, topic: str, body: bytes) -> None:
        parsed = parse_topic(topic)
        if isinstance(parsed, DeviceTopic) and parsed.leaf is Leaf.ACK:
            self.acknowledged += decode_body(Ack, body).events

    def take(self, seed: int, size: int = 1) -> None:
        """Let rings wait together, and handle them."""
        inbox = Inbox()
        desk = ControlDesk(
            self._databases,
            inbox,
            self._publish,
            Hub(),
            self.counters,
            receipt_key=SigningKey.generate(random_from("receipt")),
            now_ms=lambda: NOW_MS,
        )
        for number in range(size):
            ring = make_event(NOW_MS, seed=seed * 1000 + number).encode()
            assert inbox.put(Message(FRONT.device.id, Leaf.RING, ring))
        desk._handle(list(desk._decoded(inbox.take(size))))


def test_a_vault_that_is_gone_while_its_log_is_cut_is_told_as_such(
    databases: Databases, tmp_path: Path
) -> None:
    databases.vault.dispose()
    (tmp_path / "vault.db").rename(tmp_path / "away")
    with pytest.raises(DatabaseUnavailableError):
        databases.forget_deleted()
    (tmp_path / "away").rename(tmp_path / "vault.db")
    databases.forget_deleted()


def test_a_cut_that_fails_leaves_the_connection_as_patient_as_it_was(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHECKPOINT_TRY_MS", 7)

    def refuse(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_authorizer(
            lambda _action, name, *_: (
                sqlite3.SQLITE_DENY if name == "wal_checkpoint" else sqlite3.SQLITE_OK
            )
        )

    databases.vault.dispose()
    event.listen(databases.vault, "checkout", refuse)
    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        databases.forget_deleted()
    event.remove(databases.vault, "checkout", refuse)
    with databases.read() as unit:
        assert unit.vault.scalar(text("PRAGMA busy_timeout")) == 50
    databases.vault.dispose()


def events_in(databases: Databases) -> int:
    with databases.read() as unit:
        return unit.main.scalar(select(func.count()).select_from(EventRow)) or 0


@pytest.mark.parametrize("fault", FAULTS)
def test_ingest_acknowledges_nothing_it_did_not_commit_and_goes_on_afterwards(
    fault: Fault, databases: Databases, tmp_path: Path
) -> None:
    desk = Desk(databases)
    desk.take(0)
    assert len(desk.acknowledged) == 1
    with during(fault, databases, tmp_path):
        # As many as the pages that are there cannot hold.
        for turn in range(1, 8):
            desk.take(turn, size=32)
        kept = len(desk.acknowledged)
        assert desk.counters[Count.DROPPED_DATABASE_AWAY] == 1 + 7 * 32 - kept > 0
        assert desk.counters[Count.CRASHED] == 0
    assert events_in(databases) == kept
    desk.take(9)
    assert events_in(databases) == len(desk.acknowledged) == kept + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_the_web_asks_to_come_back_and_is_well_afterwards(
    fault: Fault, databases: Databases, tmp_path: Path
) -> None:
    app = app_over(databases, store_nowhere(), Hub())
    with ExitStack() as stack:
        client = stack.enter_context(TestClient(app))

        def ask() -> int:
            answer = client.post("/v1/sign-in/challenge", json={})
            if answer.status_code not in {200, 201}:
                assert answer.status_code == 503
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.headers["Content-Type"] == MEDIA_TYPE
            app.state.attempts = type(app.state.attempts)()
            return int(answer.status_code)

        well = ask()
        with during(fault, databases, tmp_path):
            assert 503 in {ask() for _ in range(300)}
        assert ask() == well
        assert client.get("/readyz").status_code == 200


def test_a_database_that_became_noise_is_told_by_readyz(
    databases: Databases, tmp_path: Path
) -> None:
    app = app_over(databases, store_nowhere(), Hub())
    with TestClient(app) as client, during(garbage, databases, tmp_path):
        told = client.get("/readyz")
        assert told.status_code == 503
        assert "database" in told.text


def test_a_damaged_page_is_met_by_readers_as_a_database_that_is_away(
    databases: Databases, tmp_path: Path
) -> None:
    with during(garbage, databases, tmp_path), pytest.raises(DatabaseUnavailableError):
        events_in(databases)
    with databases.read() as unit:
        assert unit.main.scalar(text("select 1")) == 1
