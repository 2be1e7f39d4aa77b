"""HTTP: how long a household keeps its clips and events."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from doorstep_cloud.access.policy import Action
from doorstep_cloud.clips.deletion import count_over
from doorstep_cloud.households.preferences import read_retention_days, write_retention_days
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    KnownActorDep,
    NowDep,
    authorize,
    household_of,
    speaker,
)
from doorstep_cloud.households.retention import MAX_DAYS, MIN_DAYS

router: Final = APIRouter(tags=["household"])

_PATH: Final = "/v1/household/settings"
_Days = Annotated[int, Field(ge=MIN_DAYS, le=MAX_DAYS, strict=True)]

RetentionListener = Callable[[], None]
"""Is told, after the commit, that a household keeps things for another time; does not block."""


class SettingsChange(BaseModel):
    """What a household wants to be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retention_days: _Days


class SettingsAnswer(BaseModel):
    """What a household has set that is no matter of consent.

    Attributes:
        retention_days: Clips and events are kept for so many days.
        clips_over: How many clips there are that would not be kept with the days that were
            asked about; null if none were.
    """

    retention_days: int
    clips_over: int | None


def retention_listener(request: Request) -> RetentionListener:
    """Return whom to tell of another retention."""
    listener: RetentionListener = request.app.state.retention_listener
    return listener


@router.get(_PATH)
def show_settings(
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    if_days: Annotated[
        int | None, Query(ge=MIN_DAYS, le=MAX_DAYS, description="Count what would go then")
    ] = None,
) -> SettingsAnswer:
    """Return what the household has set; with ``if_days``, how many clips would go with those."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_SETTINGS, household_of(actor), now)
        household = speaker(actor).household
        over = None if if_days is None else count_over(unit, household, if_days, now)
        return SettingsAnswer(retention_days=read_retention_days(unit, household), clips_over=over)


@router.put(_PATH)
def change_settings(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    listener: Annotated[RetentionListener, Depends(retention_listener)],
    asked: SettingsChange,
) -> SettingsAnswer:
    """Set how many days clips and events are kept; what is older goes at once, for good."""
    with databases.write() as unit:
        authorize(unit, actor, Action.WRITE_SETTINGS, household_of(actor), now)
        write_retention_days(unit, speaker(actor).household, asked.retention_days, now)
        unit.commit()
    listener()
    return SettingsAnswer(retention_days=asked.retention_days, clips_over=None)
