"""HTTP: a household, its chain of statements, its keyring."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from doorstep_cloud.access.policy import Action
from doorstep_cloud.households import chain, keyring
from doorstep_cloud.households.chain import Place
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    KnownActorDep,
    ListenerDep,
    NowDep,
    SignedField,
    authorize,
    count_attempt,
    household_of,
    speaker,
)
from doorstep_cloud.store.moments import Moment
from doorstep_shared.encoding import Base64Bytes, Base64Bytes32
from doorstep_shared.fields import Counter, HouseholdIdField, MemberIdField
from doorstep_shared.signing import Signed
from doorstep_shared.statements import MAX_MEMBERS, Role

router: Final = APIRouter(tags=["household"])

KEYRING_PATH: Final = "/v1/keyring.age"
_MAX_HOLDERS: Final = MAX_MEMBERS + 1

_Holder = Annotated[str, Field(pattern=f"^([a-z2-7]{{26}}|{keyring.RECOVERY})$")]
_Files = Annotated[dict[_Holder, Base64Bytes], Field(min_length=1, max_length=_MAX_HOLDERS)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Founding(_Asked):
    """A household to be: its first statement, and its owner's keyring file."""

    invite: Annotated[str, Field(max_length=64, examples=["dst_inv_…"])]
    statement: SignedField
    keyring: _Files


class Founded(BaseModel):
    """A household that is here now; ``root`` is SHA-256 of its first statement's body."""

    household: HouseholdIdField
    member: MemberIdField
    root: Base64Bytes32


class PlaceAnswer(BaseModel):
    """Where a statement stands in the chain; ``sha256`` is of its body."""

    seq: Counter
    sha256: Base64Bytes32


class Me(BaseModel):
    """The member who asks."""

    member: MemberIdField
    role: Role


class EpochAnswer(BaseModel):
    """The key that clips are sealed to for now, and until when."""

    n: Counter
    not_after: Moment


class Household(BaseModel):
    """The caller's household and its statement in force."""

    household: HouseholdIdField
    root: Base64Bytes32
    head: PlaceAnswer
    me: Me
    epoch: EpochAnswer


class StatementList(BaseModel):
    """Statements, oldest first, as they were signed."""

    statements: list[Signed]


class KeyringChange(_Asked):
    """A statement, and the keyring file of every holder it lists."""

    statement: SignedField
    files: _Files


@router.post("/v1/households", status_code=201, dependencies=[Depends(count_attempt)])
def create_household(databases: DatabasesDep, now: NowDep, asked: Founding) -> Founded:
    """Found a household with an invite. The same request again gets the same answer."""
    with databases.write() as unit:
        head = chain.found_household(unit, asked.invite, asked.statement, asked.keyring, now)
        unit.commit()
    owner = head.statement.roster[0]
    return Founded(household=head.household, member=owner.member, root=head.root)


@router.get("/v1/household")
def show_household(databases: DatabasesDep, actor: ActorDep, now: NowDep) -> Household:
    """Return the caller's household, and where its chain stands."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_HOUSEHOLD, household_of(actor), now)
        me = speaker(actor)
        head = chain.read_head(unit, me.household)
    statement = head.statement
    role = next(m.role for m in statement.roster if m.member == me.member)
    return Household(
        household=head.household,
        root=head.root,
        head=PlaceAnswer(seq=statement.seq, sha256=head.signed.body_hash),
        me=Me(member=me.member, role=role),
        epoch=EpochAnswer(n=statement.epoch.n, not_after=statement.epoch.not_after),
    )


@router.get("/v1/statements")
def list_statements(
    databases: DatabasesDep,
    actor: ActorDep,
    now: NowDep,
    after: Annotated[Counter | None, Query(description="Only those after this place")] = None,
) -> StatementList:
    """Return the household's statements, oldest first, some at a time; ask on with ``after``."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_STATEMENTS, household_of(actor), now)
        found = chain.read_statements(unit, speaker(actor).household, after)
    return StatementList(statements=list(found))


@router.post("/v1/statements", status_code=201)
def append_statement(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    listener: ListenerDep,
    asked: SignedField,
) -> PlaceAnswer:
    """Append the direct successor of the head.

    One that changes who may open clips comes with the keyring instead: `PUT /v1/keyring.age`.
    """
    with databases.write() as unit:
        authorize(unit, actor, Action.WRITE_STATEMENT, household_of(actor), now)
        household = speaker(actor).household
        place = chain.append_statement(unit, household, asked, None, now)
        unit.commit()
    listener(household)
    return _answer(place)


@router.get(
    KEYRING_PATH,
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def show_keyring(databases: DatabasesDep, actor: ActorDep, now: NowDep) -> Response:
    """Return the caller's own keyring file: `age -d -i me.txt` opens it, nothing else does."""
    with databases.read() as unit:
        authorize(unit, actor, Action.READ_KEYRING, household_of(actor), now)
        me = speaker(actor)
        file = keyring.read_file(unit, me.household, me.member)
    return Response(
        file, media_type="application/octet-stream", headers={"Cache-Control": "no-store"}
    )


@router.put(KEYRING_PATH)
def replace_keyring(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    listener: ListenerDep,
    asked: KeyringChange,
) -> PlaceAnswer:
    """Append a statement together with all keyring files it needs: both or neither.

    The one body that may be longer than 64 KiB: up to 1 MiB.
    """
    with databases.write() as unit:
        authorize(unit, actor, Action.WRITE_KEYRING, household_of(actor), now)
        household = speaker(actor).household
        place = chain.append_statement(unit, household, asked.statement, asked.files, now)
        unit.commit()
    listener(household)
    return _answer(place)


def _answer(place: Place) -> PlaceAnswer:
    return PlaceAnswer(seq=place.seq, sha256=place.sha256)
