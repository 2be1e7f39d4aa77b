"""When a job of the worker last came to its end, and since when it finds what it waits with.

Nothing here ends a unit of work.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import delete, select

from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.tables import JobRow


def last_pass(unit: Unit, job: str) -> int | None:
    """Return when ``job`` last came to its end, Unix milliseconds; None if it never did."""
    row = unit.main.get(JobRow, job)
    return None if row is None else row.passed_at_ms


def note_pass(unit: Unit, job: str, now: int) -> None:
    """Keep that ``job`` came to its end at ``now``."""
    unit.main.merge(JobRow(name=job, passed_at_ms=now))


def found_since(unit: Unit, finding: str) -> Mapping[str, int]:
    """Return since when each thing of a finding is found, Unix milliseconds."""
    query = select(JobRow).where(JobRow.name.startswith(finding, autoescape=True))
    return {row.name.removeprefix(finding): row.passed_at_ms for row in unit.main.scalars(query)}


def note_found(unit: Unit, finding: str, things: Iterable[str], now: int) -> None:
    """Keep that these ``things`` are found since ``now``."""
    for thing in things:
        note_pass(unit, finding + thing, now)


def forget_found(unit: Unit, finding: str, things: Iterable[str]) -> None:
    """Forget that these ``things`` were ever found."""
    names = [finding + thing for thing in things]
    unit.main.execute(delete(JobRow).where(JobRow.name.in_(names)))


def forget_finding(unit: Unit, finding: str) -> None:
    """Forget that anything of a finding was ever found."""
    unit.main.execute(delete(JobRow).where(JobRow.name.startswith(finding, autoescape=True)))
