"""Databases of their own for every test that asks, and our household in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from doorstep_cloud.store.databases import Databases
from tests.cloud_world import House, open_empty
from tests.people import HOUSEHOLD, OWNER


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    """Both databases, migrated and empty."""
    with open_empty(tmp_path) as opened:
        yield opened


@pytest.fixture
def house(databases: Databases) -> House:
    """Our household, with its owner and no doorbell yet."""
    return House(databases, OWNER, HOUSEHOLD)
