"""HTTP: signing in, and tokens."""

import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from doorstep_cloud.access.policy import Action, Scope
from doorstep_cloud.households import sign_in, tokens
from doorstep_cloud.households.principal import (
    ActorDep,
    DatabasesDep,
    KnownActorDep,
    NowDep,
    PublicUrlDep,
    SignedField,
    authorize,
    count_attempt,
    household_of,
    speaker,
)
from doorstep_cloud.store.moments import Moment
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.fields import HouseholdIdField, MemberIdField

router: Final = APIRouter(tags=["sign-in"])


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(_Asked):
    """An empty object: ``{}``."""


class ChallengeAnswer(BaseModel):
    """A nonce for one sign-in."""

    server_nonce: Base64Bytes32
    expires_at: Moment


class SessionWish(_Asked):
    """A signed container of kind ``sign-in`` over ``{aud, client, server_nonce, at}``."""

    signed: SignedField


class SessionAnswer(BaseModel):
    """A session; its code is shown here and never again."""

    token: Annotated[str, Field(examples=["dst_ses_…"])]
    expires_at: Moment
    household: HouseholdIdField
    member: MemberIdField


class TokenWish(_Asked):
    """What a new token shall be called, may do, and how many days it lasts."""

    # SQLite counts characters up to the first NUL; and a name is shown in a line.
    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=64,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            examples=["kitchen tablet"],
        ),
    ]
    scopes: Annotated[set[Scope], Field(min_length=1, examples=[["events:read"]])]
    days: Annotated[int, Field(ge=1, le=tokens.MAX_DAYS)]


class TokenAnswer(BaseModel):
    """A token without its code."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: Moment
    expires_at: Moment


class NewToken(TokenAnswer):
    """A token with its code, which is shown here and never again."""

    token: Annotated[str, Field(examples=["dst_pat_…"])]


class TokenList(BaseModel):
    """The caller's tokens, newest first."""

    items: list[TokenAnswer]
    next: str | None = None


@router.post("/v1/sign-in/challenge", status_code=201, dependencies=[Depends(count_attempt)])
def create_challenge(databases: DatabasesDep, now: NowDep, _asked: Nothing) -> ChallengeAnswer:
    """Return a nonce to sign; it serves once, within two minutes."""
    with databases.write() as unit:
        challenge = sign_in.create_challenge(unit, now, secrets.token_bytes)
        unit.commit()
    return ChallengeAnswer(server_nonce=challenge.nonce, expires_at=challenge.expires_at_ms)


@router.post("/v1/sessions", status_code=201, dependencies=[Depends(count_attempt)])
def create_session(
    databases: DatabasesDep, now: NowDep, public_url: PublicUrlDep, asked: SessionWish
) -> SessionAnswer:
    """Sign in: the member's key signed our nonce and our address. Lasts 30 days."""
    with databases.write() as unit:
        session = sign_in.open_session(unit, asked.signed, public_url, now, secrets.token_bytes)
        unit.commit()
    return SessionAnswer(
        token=session.code,
        expires_at=session.expires_at_ms,
        household=session.household,
        member=session.member,
    )


@router.get("/v1/tokens")
def list_tokens(databases: DatabasesDep, actor: ActorDep, now: NowDep) -> TokenList:
    """Return the caller's tokens that have not ended; never their codes."""
    with databases.read() as unit:
        authorize(unit, actor, Action.MANAGE_TOKENS, household_of(actor), now)
        found = tokens.list_tokens(unit, speaker(actor), now)
    return TokenList(items=[_answer(token) for token in found])


@router.post("/v1/tokens", status_code=201)
def create_token(
    databases: DatabasesDep, actor: KnownActorDep, now: NowDep, asked: TokenWish
) -> NewToken:
    """Make a token for a program; it is shown once."""
    wish = tokens.Wish(asked.name, frozenset(asked.scopes), asked.days)
    with databases.write() as unit:
        authorize(unit, actor, Action.MANAGE_TOKENS, household_of(actor), now)
        token, code = tokens.create_token(unit, speaker(actor), wish, now, secrets.token_bytes)
        unit.commit()
    return NewToken(token=code, **_answer(token).model_dump())


@router.delete("/v1/tokens/{token_id}", status_code=204)
def delete_token(
    databases: DatabasesDep,
    actor: KnownActorDep,
    now: NowDep,
    token_id: Annotated[str, Path(pattern="^[0-9a-f]{16}$")],
) -> None:
    """End one of the caller's tokens at once."""
    with databases.write() as unit:
        authorize(unit, actor, Action.MANAGE_TOKENS, household_of(actor), now)
        tokens.delete_token(unit, speaker(actor), token_id)
        unit.commit()


def _answer(token: tokens.Token) -> TokenAnswer:
    return TokenAnswer(
        id=token.id,
        name=token.name,
        scopes=list(token.scopes),
        created_at=token.created_at_ms,
        expires_at=token.expires_at_ms,
    )
