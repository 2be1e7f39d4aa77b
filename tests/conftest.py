"""What every test leaves behind as it found it."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def facts_told_as_before() -> Iterator[None]:
    """Undo what a test has configured of the process's log."""
    yield
    structlog.reset_defaults()
