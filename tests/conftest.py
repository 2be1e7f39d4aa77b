"""What every test leaves behind as it found it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import settings

# No test passes or fails by the time it takes: a busy machine would decide.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")


UNIT = Path(__file__).parent / "unit"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Trace branches in unit tests alone: they take all of the rules', and tracing is slow."""
    for item in items:
        if not item.path.is_relative_to(UNIT):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(autouse=True)
def facts_told_as_before() -> Iterator[None]:
    """Undo what a test has configured of the process's log."""
    yield
    structlog.reset_defaults()
