"""Who asks, and may they: what every route of the service begins with.

A route names `ActorDep`, `DatabasesDep` and `NowDep` among its parameters, opens
a unit, and calls `authorize` in it before it reads anything.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BeforeValidator
from sqlalchemy import select

from doorstep_cloud.access.attempts import Attempts
from doorstep_cloud.access.policy import (
    Action,
    Actor,
    Anonymous,
    Denial,
    DeviceActor,
    Facts,
    Member,
    Resource,
    Scope,
    TokenHolder,
    decide,
)
from doorstep_cloud.households import codes
from doorstep_cloud.households.tables import MemberRow, SessionRow, TokenRow
from doorstep_cloud.store.databases import Databases, Unit
from doorstep_cloud.store.errors import NotAllowedError, NotFoundError, NotSignedInError
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import HouseholdId, MemberId
from doorstep_shared.signing import Signed
from doorstep_shared.statements import Role

Clock = Callable[[], int]
"""Returns Unix milliseconds."""

HouseholdListener = Callable[[HouseholdId], None]
"""Is told, after the commit, who has a new statement, doorbell or command; it must not block."""


def _container(value: object) -> Signed:
    try:
        return Signed.model_validate_json(json.dumps(value))
    except TypeError as error:
        raise ValueError("this is not a signed container") from error


SignedField = Annotated[Signed, BeforeValidator(_container)]
"""A signed container in a request. The model is strict, and strict about JSON, not Python."""

_BEARER: Final = HTTPBearer(
    auto_error=False,
    scheme_name="session-or-token",
    description="`dst_ses_…` from `POST /v1/sessions`, or a token `dst_pat_…` with the scope.",
)


_WHERE_TO_LOOK: Final[Mapping[Action, str]] = {
    Action.READ_CLIP_LIST: "doorstep clip list",
    Action.READ_CLIP_OBJECT: "doorstep clip list",
    Action.READ_MANIFEST: "doorstep clip list",
    Action.DELETE_CLIP: "doorstep clip list",
    Action.READ_EVENTS: "doorstep event list",
    Action.READ_DEVICES: "doorstep device list",
    Action.READ_COMMANDS: "doorstep device list",
    Action.SEND_COMMAND: "doorstep device list",
    Action.READ_CLAIM: "doorstep device add",
    Action.MANAGE_TOKENS: "doorstep token list",
}
"""For somebody who asked for what there is not: the command that shows what there is."""


def now_ms() -> int:
    """Return the service's wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def databases(request: Request) -> Databases:
    """Return the databases this app was composed with."""
    found = request.app.state.databases
    if not isinstance(found, Databases):
        raise TypeError("the app was composed without databases")
    return found


def current_time(request: Request) -> int:
    """Return the time by the app's clock, Unix milliseconds."""
    clock: Clock = request.app.state.clock
    return clock()


def public_url(request: Request) -> str:
    """Return the address under which clients know this service."""
    return str(request.app.state.public_url)


def household_listener(request: Request) -> HouseholdListener:
    """Return whom to tell that a household has a new statement, doorbell or command."""
    listener: HouseholdListener = request.app.state.household_listener
    return listener


def count_attempt(request: Request) -> None:
    """Count a request that needs no session against its address.

    Raises:
        TooOftenError: The address has asked too often.
    """
    attempts: Attempts = request.app.state.attempts
    address = request.client.host if request.client else "unknown"
    attempts.count(address, current_time(request))


DatabasesDep = Annotated[Databases, Depends(databases)]
NowDep = Annotated[int, Depends(current_time)]
PublicUrlDep = Annotated[str, Depends(public_url)]
ListenerDep = Annotated[HouseholdListener, Depends(household_listener)]


def current_code(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
) -> str:
    """Return the session's or token's code that came with this request; empty if none did."""
    return "" if credentials is None else credentials.credentials


CodeDep = Annotated[str, Depends(current_code)]


def current_actor(databases: DatabasesDep, now: NowDep, code: CodeDep) -> Actor:
    """Return who sent this request; a code that is unknown or has ended is nobody's."""
    if not code:
        return Anonymous()
    with databases.read() as unit:
        return actor_of_code(unit, code, now)


ActorDep = Annotated[Actor, Depends(current_actor)]


def known_actor(actor: ActorDep) -> Actor:
    """Return who sent this request, for what writes: there is one write unit at a time.

    Nobody known is sent away before it is opened, so that strangers cannot hold it.
    What the others may do, `authorize` decides in the unit itself.

    Raises:
        NotSignedInError: Nobody known asks.
    """
    if isinstance(actor, Anonymous):
        raise _not_signed_in("this needs a session or a token")
    return actor


KnownActorDep = Annotated[Actor, Depends(known_actor)]


def actor_of_code(unit: Unit, code: str, now: int) -> Actor:
    """Return whose session or token ``code`` is, Anonymous if nobody's (any more).

    Who asks for long, such as a listener, is looked up again: an actor once found
    does not know that its session has been ended or its token revoked.
    """
    if codes.is_well_formed(codes.SESSION, code, checked=False):
        return _session_holder(unit, code, now)
    if codes.is_well_formed(codes.TOKEN, code, checked=True):
        return _token_holder(unit, code, now)
    return Anonymous()


@dataclass(frozen=True, slots=True)
class Speaker:
    """The member an actor speaks for."""

    household: HouseholdId
    member: MemberId


def speaker(actor: Actor) -> Speaker:
    """Return the member ``actor`` speaks for.

    Raises:
        NotSignedInError: It speaks for none.
    """
    if isinstance(actor, Anonymous | DeviceActor):
        raise NotSignedInError("this needs a session or a token")
    return Speaker(actor.household, actor.member)


def household_of(actor: Actor) -> Resource:
    """Return the actor's own household, for what is asked without naming one."""
    return Resource(None if isinstance(actor, Anonymous) else actor.household)


def authorize(unit: Unit, actor: Actor, action: Action, resource: Resource, now: int) -> None:
    """Return if `decide` allows it, by what the database knows in this very unit.

    Raises:
        NotSignedInError: Nobody known asks.
        NotFoundError: There is no such thing in the actor's household.
        NotAllowedError: Their role or scope does not reach so far.
    """
    decision = decide(actor, action, resource, _facts(unit, actor), now)
    if decision.denial is not None:
        raise _refusal(decision.denial, action, "; ".join(decision.reasons))


def _facts(unit: Unit, actor: Actor) -> Facts:
    if isinstance(actor, Anonymous | DeviceActor):
        return Facts(role=None)
    role = unit.main.scalar(
        select(MemberRow.role).where(
            MemberRow.household == actor.household, MemberRow.id == actor.member
        )
    )
    return Facts(role=None if role is None else Role(role))


def _refusal(denial: Denial, action: Action, reason: str) -> RefusedError:
    if denial is Denial.NOT_SIGNED_IN:
        return _not_signed_in(reason)
    if denial is Denial.NOT_FOUND:
        return NotFoundError(reason, do=_WHERE_TO_LOOK.get(action, "doorstep status"))
    return NotAllowedError(reason, do="Ask an owner of this household.")


def _not_signed_in(reason: str) -> NotSignedInError:
    return NotSignedInError(reason, do="doorstep status        (signs in again when needed)")


def _session_holder(unit: Unit, code: str, now: int) -> Actor:
    row = unit.main.scalar(
        select(SessionRow).where(SessionRow.code_sha256 == codes.hash_code(code))
    )
    if row is None or now >= row.expires_at_ms:
        return Anonymous()
    return Member(
        household=HouseholdId(row.household),
        member=MemberId(row.member),
        session=row.id,
        ends_at_ms=row.expires_at_ms,
    )


def _token_holder(unit: Unit, code: str, now: int) -> Actor:
    row = unit.main.scalar(select(TokenRow).where(TokenRow.code_sha256 == codes.hash_code(code)))
    if row is None or now >= row.expires_at_ms:
        return Anonymous()
    return TokenHolder(
        household=HouseholdId(row.household),
        member=MemberId(row.member),
        token=row.id,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        ends_at_ms=row.expires_at_ms,
    )
