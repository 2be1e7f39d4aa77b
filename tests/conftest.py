"""What every test leaves behind as it found it."""

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# No test passes or fails by the time it takes: a busy machine would decide.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")


@pytest.fixture(autouse=True)
def facts_told_as_before() -> Iterator[None]:
    """Undo what a test has configured of the process's log."""
    yield
    structlog.reset_defaults()
