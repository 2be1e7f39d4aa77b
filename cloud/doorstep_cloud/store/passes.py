"""When a job of the worker last came to its end. Nothing here ends a unit of work."""

from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.tables import JobRow


def last_pass(unit: Unit, job: str) -> int | None:
    """Return when ``job`` last came to its end, Unix milliseconds; None if it never did."""
    row = unit.main.get(JobRow, job)
    return None if row is None else row.passed_at_ms


def note_pass(unit: Unit, job: str, now: int) -> None:
    """Keep that ``job`` came to its end at ``now``."""
    unit.main.merge(JobRow(name=job, passed_at_ms=now))


def forget_pass(unit: Unit, job: str) -> None:
    """Forget that ``job`` ever came to its end."""
    if (row := unit.main.get(JobRow, job)) is not None:
        unit.main.delete(row)
