"""Ingest's rounds of cleaning up: what fails in one keeps no other from its turn."""

from pathlib import Path
from unittest.mock import Mock, patch

import pytest
from structlog.testing import capture_logs

from doorstep_cloud.events.hub import Hub
from doorstep_cloud.ingest import service
from doorstep_cloud.ingest.connection import BrokerAddress
from doorstep_cloud.ingest.counters import Count
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.store.databases import Databases
from tests.cloud_world import RECEIPT_KEY
from tests.people import NOW_MS
from tests.shelf import Shelf


def test_doorbells_are_admitted_again_though_transfers_fail(
    databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "Connection", Mock())
    monkeypatch.setattr(service, "TICK_S", 0.0)
    nowhere = tmp_path / "none"
    ingest = Ingest(
        databases=databases,
        objects=Shelf(),
        hub=Hub(),
        broker=BrokerAddress("localhost", 1, nowhere, nowhere, nowhere),
        spool_folder=tmp_path / "spool",
        receipt_key=RECEIPT_KEY,
        now_ms=lambda: NOW_MS,
    )
    turns: list[str] = []

    def fail() -> None:
        turns.append("transfers")
        if len(turns) > 4:
            ingest._stopping.set()
        raise ZeroDivisionError

    with (
        capture_logs() as told,
        patch.object(ingest._transfers, "tick", fail),
        patch.object(ingest._admission, "tick", lambda _now: turns.append("admission")),
    ):
        ingest._tick()
    assert turns[:4] == ["transfers", "admission"] * 2
    assert {fact["event"] for fact in told} == {"ingest_tick_crashed"}
    assert ingest.counters[Count.CRASHED] == len(told)
