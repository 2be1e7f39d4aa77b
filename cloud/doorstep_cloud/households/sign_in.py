"""Sign-in: the client signs a nonce of ours, with our address, by its own key.

The body is built by the client, ``{aud, client, server_nonce, at}``: a service
that passes a nonce on to another service gets a signature that names itself.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import delete, select

from doorstep_cloud.households import codes
from doorstep_cloud.households.tables import ChallengeRow, MemberRow, SessionRow
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import NotSignedInError
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import Milliseconds
from doorstep_shared.ids import HouseholdId, MemberId, Random
from doorstep_shared.signing import (
    Kind,
    Signed,
    VerifyKey,
    WrongSignatureError,
    parse_canonical,
    verify,
)

NONCE_BYTES: Final = 32
CHALLENGE_MS: Final = 2 * 60 * 1000
SESSION_MS: Final = 30 * 24 * 3600 * 1000


class SignIn(BaseModel):
    """The body a client signs.

    Attributes:
        aud: The service's address, as the client was given it.
        client: Id of the signing key: SHA-256 of its raw public half.
        at: By the client's clock, Unix milliseconds. It is only recorded: the
            nonce says when, and a client's clock may be wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    aud: str
    client: Base64Bytes32
    server_nonce: Base64Bytes32
    at: Milliseconds


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce that one sign-in may use until ``expires_at_ms`` (Unix milliseconds)."""

    nonce: bytes
    expires_at_ms: int


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its owner sees it, once.

    Attributes:
        code: ``dst_ses_…``; only its hash is kept.
        expires_at_ms: Unix milliseconds.
    """

    code: str
    expires_at_ms: int
    household: HouseholdId
    member: MemberId


def create_challenge(unit: Unit, now_ms: int, random: Random) -> Challenge:
    """Write a new challenge and return it; those that have ended go."""
    unit.main.execute(delete(ChallengeRow).where(ChallengeRow.expires_at_ms <= now_ms))
    challenge = Challenge(random(NONCE_BYTES), now_ms + CHALLENGE_MS)
    unit.main.add(ChallengeRow(nonce=challenge.nonce, expires_at_ms=challenge.expires_at_ms))
    return challenge


def open_session(unit: Unit, signed: Signed, audience: str, now_ms: int, random: Random) -> Session:
    """Use up the challenge that ``signed`` answers and return a new session.

    Args:
        unit: A write unit.
        signed: A sign-in, of kind `Kind.SIGN_IN`.
        audience: This service's address.
        now_ms: Unix milliseconds.
        random: Source of the session's code.

    Raises:
        NotSignedInError: Another service's sign-in, a challenge that is unknown,
            used or over, or a key or signature that is no member's.
        BadMessageError: No sign-in.
    """
    body = _parse(signed)
    if body.aud != audience:
        raise NotSignedInError(
            f"this sign-in was made for another address; this service is {audience}",
            do=f"Use the address {audience}: it is part of what is signed.",
        )
    _use_challenge(unit, body.server_nonce, now_ms)
    member = unit.main.scalar(select(MemberRow).where(MemberRow.sign_key_id == body.client))
    if member is None:
        raise _unknown_key()
    try:
        verify(Kind.SIGN_IN, signed, (VerifyKey(member.sign_key),))
    except WrongSignatureError as error:
        raise _unknown_key() from error
    return _write_session(unit, member, body, now_ms, random)


def _parse(signed: Signed) -> SignIn:
    parse_canonical(signed.body)
    try:
        return SignIn.model_validate_json(signed.body)
    except ValidationError as error:
        raise BadMessageError("this is not a sign-in") from error


def _use_challenge(unit: Unit, nonce: bytes, now_ms: int) -> None:
    row = unit.main.get(ChallengeRow, nonce)
    if row is None or now_ms >= row.expires_at_ms:
        raise NotSignedInError(
            "this challenge is unknown, used or over: one lasts two minutes",
            do="Ask for a new one: POST /v1/sign-in/challenge",
        )
    unit.main.delete(row)


def _unknown_key() -> NotSignedInError:
    # One answer for both: who tries keys learns nothing about who is a member.
    return NotSignedInError("no member of a household here signed this")


def _write_session(
    unit: Unit, member: MemberRow, body: SignIn, now_ms: int, random: Random
) -> Session:
    unit.main.execute(delete(SessionRow).where(SessionRow.expires_at_ms <= now_ms))
    session = Session(
        code=codes.draw_code(codes.SESSION, random),
        expires_at_ms=now_ms + SESSION_MS,
        household=HouseholdId(member.household),
        member=MemberId(member.id),
    )
    unit.main.add(
        SessionRow(
            code_sha256=codes.hash_code(session.code),
            household=member.household,
            member=member.id,
            signed_at_ms=body.at,
            created_at_ms=now_ms,
            expires_at_ms=session.expires_at_ms,
        )
    )
    return session
