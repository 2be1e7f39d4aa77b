"""A service of its own for every test that asks."""

from collections.abc import Iterator

import pytest

from tests.cast import FOREIGN, OWN, STRANGER, Stage, stage
from tests.people import OWNER


@pytest.fixture
def service() -> Iterator[Stage]:
    """A service nobody has used yet."""
    with stage() as running:
        yield running


@pytest.fixture
def home(service: Stage) -> Stage:
    """A service with our household, and a stranger's beside it."""
    service.found(OWNER, OWN)
    service.found(STRANGER, FOREIGN)
    return service
