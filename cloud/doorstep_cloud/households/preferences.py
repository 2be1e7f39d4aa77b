"""What a household has set that is no matter of consent. Nothing here ends a unit of work."""

from collections.abc import Mapping

from sqlalchemy import select

from doorstep_cloud.households.retention import DEFAULT_DAYS
from doorstep_cloud.households.tables import HouseholdRow, SettingsRow
from doorstep_cloud.store.databases import Unit
from doorstep_shared.ids import HouseholdId


def read_retention_days(unit: Unit, household: HouseholdId) -> int:
    """Return how many days a household keeps its clips and events."""
    row = unit.main.get(SettingsRow, household)
    return DEFAULT_DAYS if row is None else row.retention_days


def write_retention_days(unit: Unit, household: HouseholdId, days: int, now: int) -> None:
    """Keep how many days a household keeps its clips and events, 1 to 60."""
    row = SettingsRow(household=household, retention_days=days, changed_at_ms=now)
    unit.main.merge(row)


def retention_of_all(unit: Unit) -> Mapping[HouseholdId, int]:
    """Return the days of every household there is."""
    days = dict.fromkeys(unit.main.scalars(select(HouseholdRow.id)), DEFAULT_DAYS)
    rows = unit.main.execute(select(SettingsRow.household, SettingsRow.retention_days))
    days.update({row.household: row.retention_days for row in rows})
    return {HouseholdId(household): own for household, own in days.items()}
