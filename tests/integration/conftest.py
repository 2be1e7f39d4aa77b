"""One stack for all tests here: starting it takes longer than most of them."""

from collections.abc import Iterator

import pytest

from doorstep_simulator.stack import Stack
from tests.running import Home


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The broker, the object store and the service, supervised, on free ports."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def home(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A household with one doorbell that is listed and switched off."""
    return Home.found(stack, tmp_path_factory.mktemp("home"))
