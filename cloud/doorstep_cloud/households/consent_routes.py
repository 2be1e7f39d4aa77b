"""HTTP: a household's consent policy."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from doorstep_cloud.access.policy import Action
from doorstep_cloud.households import consent
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    KnownActorDep,
    ListenerDep,
    NowDep,
    SignedField,
    authorize,
    household_of,
    speaker,
)
from doorstep_cloud.households.routes import PlaceAnswer
from doorstep_cloud.store.moments import Moment
from doorstep_shared.consent import Choices, ConsentPolicy
from doorstep_shared.fields import Counter
from doorstep_shared.signing import Signed

router: Final = APIRouter(tags=["consent"])

CONSENT_PATH: Final = "/v1/consent-policy"


class Waiting(BaseModel):
    """A version whose time has not come; until then any owner may replace it."""

    version: Counter
    in_force_at: Moment
    choices: Choices


class ConsentAnswer(BaseModel):
    """The versions as they were signed, oldest first, and what they come to just now."""

    policies: list[Signed]
    in_force: Choices
    waiting: Waiting | None


class ConsentChange(BaseModel):
    """The next version, and the statement that names its hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Annotated[SignedField, Field(description="Of kind `consent-policy`")]
    statement: SignedField


class AcceptedAnswer(BaseModel):
    """A version that is kept, from when on it holds, and the statement that names it."""

    version: Counter
    in_force_at: Moment
    statement: PlaceAnswer


@router.get(CONSENT_PATH)
def show_consent(
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    after: Annotated[Counter, Query(description="Only those after this version")] = 0,
) -> ConsentAnswer:
    """Return who may be asked for a clip; some versions at a time, ask on with ``after``.

    Without a version everything is off. No version gives a clip: only a person does.
    """
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_CONSENT, household_of(actor), now)
        household = speaker(actor).household
        policies = consent.read_policies(unit, household, after)
        found = consent.read_consent(unit, household, now)
    return ConsentAnswer(
        policies=list(policies), in_force=found.in_force, waiting=_waiting(found.waiting)
    )


@router.put(CONSENT_PATH)
def replace_consent(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    listener: ListenerDep,
    asked: ConsentChange,
) -> AcceptedAnswer:
    """Append the next version and the statement that names it: both or neither."""
    with databases.write() as unit:
        authorize(unit, actor, Action.WRITE_CONSENT, household_of(actor), now)
        household = speaker(actor).household
        accepted = consent.write_policy(unit, household, asked.policy, asked.statement, now)
        unit.commit()
    listener(household)
    return AcceptedAnswer(
        version=accepted.policy.version,
        in_force_at=accepted.policy.in_force_at,
        statement=PlaceAnswer(seq=accepted.place.seq, sha256=accepted.place.sha256),
    )


def _waiting(policy: ConsentPolicy | None) -> Waiting | None:
    if policy is None:
        return None
    return Waiting(version=policy.version, in_force_at=policy.in_force_at, choices=policy.choices)
