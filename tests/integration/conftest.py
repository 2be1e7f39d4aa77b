"""One stack for all tests here, since starting it takes longer than most of them; and its parts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from doorstep_cloud.store.databases import Databases
from doorstep_simulator.stack import Stack
from tests.cloud_world import House, open_empty
from tests.people import HOUSEHOLD, OWNER
from tests.running import Home
from tests.services import SeaweedFs, seaweedfs


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The broker, the object store and the service, supervised, on free ports."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFs]:
    """The stack's object store by itself."""
    with seaweedfs(tmp_path_factory.mktemp("objects")) as service:
        yield service


@pytest.fixture
def databases(tmp_path: Path) -> Iterator[Databases]:
    """Both databases of the service by themselves, migrated and empty."""
    with open_empty(tmp_path) as opened:
        yield opened


@pytest.fixture
def house(databases: Databases) -> House:
    """Our household in these databases, with its owner and no doorbell yet."""
    return House(databases, OWNER, HOUSEHOLD)


@pytest.fixture(scope="session")
def home(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A household with one doorbell that is listed and switched off."""
    return Home.found(stack, tmp_path_factory.mktemp("home"))
