"""Grants: a household's signed consent that one clip goes to one request, and no further.

A grant names everything by hash: the request as it was shown, the agency's key,
the recipient, the clip's manifest and payload, and the new envelope. So nothing
of it can be used for another question, another agency, another clip or again.
The service asks `check_grant` when a grant comes, the owner's client before it
sends one.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from doorstep_shared.agencies import AgencyRecord
from doorstep_shared.consent import (
    Choices,
    ConsentPolicy,
    Requests,
    ShowMyName,
    count_owners,
    shown_kinds,
    version_in_force,
)
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import RefusedError
from doorstep_shared.fields import (
    AgencyIdField,
    ClipIdField,
    Counter,
    HouseholdIdField,
    Milliseconds,
    NameText,
    RecipientText,
    RequestIdField,
)
from doorstep_shared.manifest import (
    MAX_ENVELOPE_BYTES,
    MAX_PAYLOAD_BYTES,
    read_manifest,
    verify_manifest,
)
from doorstep_shared.requests import AssistanceRequest, verify_request
from doorstep_shared.seal import (
    GhostRecipientError,
    MalformedEnvelopeError,
    parse_envelope,
    require_one_recipient_stanza,
)
from doorstep_shared.signing import (
    Kind,
    Signed,
    SigningKey,
    VerifyKey,
    parse_canonical,
    read_body,
    sign,
    verify,
)
from doorstep_shared.statements import Statement

MAX_CLOCK_OFF_MS: Final = 5 * 60 * 1000
"""A grant is dated now, as far as two clocks agree on that."""

FETCH_MS: Final = 7 * 24 * 3600 * 1000
"""How long after its request has closed a release may still be fetched."""


class WrongGrantError(RefusedError):
    """A grant does not fit what it is for, or the household does not allow it."""


class Grant(BaseModel):
    """The body of a grant.

    Attributes:
        request_sha256: Of the body of the request, as it was shown.
        agency_key: Id of the key that signed the request.
        recipient: What the new envelope is for: the request's own.
        manifest_sha256: Of the body of the clip's manifest.
        payload_sha256: Of the sealed video, which stays as it is.
        payload_length: Of the same, bytes.
        envelope_sha256: Of the new envelope.
        policy_version: The version of the consent policy that holds.
        name: Who gives it, for the agency to read; only where the policy allows it.
        not_after: Until when the clip may be fetched.
        nonce: Drawn for this grant; a service takes none twice.
        at: When it was signed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    household: HouseholdIdField
    request: RequestIdField
    request_sha256: Base64Bytes32
    agency: AgencyIdField
    agency_key: Base64Bytes32
    recipient: RecipientText
    clip: ClipIdField
    manifest_sha256: Base64Bytes32
    payload_sha256: Base64Bytes32
    payload_length: Annotated[int, Field(ge=1, le=MAX_PAYLOAD_BYTES)]
    envelope_sha256: Base64Bytes32
    policy_version: Annotated[Counter, Field(ge=1)]
    name: NameText | None
    not_after: Milliseconds
    nonce: Base64Bytes32
    at: Milliseconds


def sign_grant(grant: Grant, *owners: SigningKey) -> Signed:
    """Return ``grant`` signed by ``owners``."""
    return sign(Kind.GRANT, grant.model_dump(mode="json"), *owners)


def read_grant(signed: Signed) -> Grant:
    """Return the grant in ``signed`` without asking who signed it, or for what.

    Raises:
        BadMessageError: It is not a version 1 grant.
    """
    parse_canonical(signed.body)
    return read_body(Kind.GRANT, signed.body, Grant)


def check_grant(
    signed: Signed,
    *,
    request: Signed,
    agency: AgencyRecord,
    manifest: Signed,
    envelope: bytes,
    policies: Sequence[ConsentPolicy],
    statement: Statement,
    past: Iterable[Statement],
    now_ms: int,
) -> Grant:
    """Return the grant in ``signed`` if by it this clip may go to this request now.

    Whom the envelope is for cannot be seen without a key; that it is for one alone can.
    Whether the nonce is new, and the request still published, only the service knows.

    Args:
        signed: The grant.
        request: The request it answers; verified here.
        agency: As `doorstep_shared.agencies.verify_agency` returned it.
        manifest: The clip's; verified here, by the doorbell that ``statement`` lists.
        envelope: The new one: the clip's file key, wrapped for the request's recipient.
        policies: The household's verified consent policies, oldest first.
        statement: The household's statement in force; its owners decide.
        past: As `doorstep_shared.consent.accept_policy` takes it: ``statement`` and those
            in front of it, newest first.
        now_ms: The service's or the client's time, Unix milliseconds.

    Raises:
        WrongGrantError: A field says something else than what it stands for, the policy
            does not let it through, it is not of now, or too few owners signed it.
        WrongRequestError, WrongAreaError: As `doorstep_shared.requests.verify_request`.
        WrongSignatureError: No owner signed the grant, the agency not the request, or
            the doorbell not the manifest.
        BadMessageError: One of the three is not of version 1.
    """
    grant = read_grant(signed)
    if grant.household != statement.household:
        raise WrongGrantError("this grant is another household's")
    asked = verify_request(request, agency)
    _check_request(grant, request, asked, agency)
    _check_clip(grant, manifest, statement)
    _check_envelope(grant, envelope)
    _check_times(grant, asked, now_ms)
    held = _check_policy(grant, agency, policies, statement, now_ms)
    # A date a little ahead makes nobody an owner for longer.
    _check_owners(signed, held.owners_needed, statement, past, min(grant.at, now_ms))
    return grant


def _check_request(
    grant: Grant, signed: Signed, request: AssistanceRequest, agency: AgencyRecord
) -> None:
    if grant.request != request.request or grant.request_sha256 != signed.body_hash:
        raise WrongGrantError("this grant is for another request than the one shown")
    if grant.agency != agency.agency or grant.agency_key != agency.verify_key.key_id:
        raise WrongGrantError("this grant is for another agency, or another key of it")
    if grant.recipient != request.recipient:
        raise WrongGrantError("this grant names another recipient than the request")


def _check_clip(grant: Grant, signed: Signed, statement: Statement) -> None:
    claimed = read_manifest(signed)
    device = statement.device(claimed.device)
    if device is None or claimed.household != statement.household:
        raise WrongGrantError("no doorbell of this household made this clip")
    manifest = verify_manifest(signed, VerifyKey(device.manifest_key))
    if grant.clip != manifest.clip or grant.manifest_sha256 != signed.body_hash:
        raise WrongGrantError("this grant is for another clip")
    payload = manifest.file.payload
    if (grant.payload_sha256, grant.payload_length) != (payload.sha256, payload.length):
        raise WrongGrantError("this grant is for another video than the clip's")
    if grant.envelope_sha256 == manifest.file.envelope.sha256:
        raise WrongGrantError("this grant hands over the clip's own envelope, not a new one")


def _check_envelope(grant: Grant, envelope: bytes) -> None:
    if len(envelope) > MAX_ENVELOPE_BYTES:
        raise WrongGrantError(f"an envelope has at most {MAX_ENVELOPE_BYTES} bytes")
    if grant.envelope_sha256 != hashlib.sha256(envelope).digest():
        raise WrongGrantError("this grant is for another envelope")
    try:
        require_one_recipient_stanza(parse_envelope(envelope))
    except (GhostRecipientError, MalformedEnvelopeError) as error:
        raise WrongGrantError("the new envelope is not for one recipient alone") from error


def _check_times(grant: Grant, request: AssistanceRequest, now_ms: int) -> None:
    if abs(grant.at - now_ms) > MAX_CLOCK_OFF_MS:
        raise WrongGrantError(
            "this grant is dated more than five minutes from now",
            do="set the clock of your computer, then give the clip again",
        )
    if now_ms >= request.closes_at:
        raise WrongGrantError("this request has closed")
    if not now_ms < grant.not_after <= request.closes_at + FETCH_MS:
        raise WrongGrantError("a clip may be fetched until 7 days after its request has closed")


def _check_policy(
    grant: Grant,
    agency: AgencyRecord,
    policies: Sequence[ConsentPolicy],
    statement: Statement,
    now_ms: int,
) -> Choices:
    """Return what holds, if it lets this grant through."""
    if any(policy.household != statement.household for policy in policies):
        raise WrongGrantError("this consent policy is another household's")
    held = version_in_force(policies, now_ms)
    if held is None or held.agency_requests is Requests.OFF:
        raise WrongGrantError("this household's consent policy lets no agency ask")
    if grant.policy_version != held.version:
        raise WrongGrantError("another version of the consent policy holds now")
    if agency.kind not in shown_kinds(held):
        raise WrongGrantError("this household's consent policy lets no agency of this kind ask")
    if grant.name is not None and held.show_my_name is ShowMyName.NEVER:
        raise WrongGrantError("this household's consent policy lets no agency learn a name")
    return held


def _check_owners(
    signed: Signed, needed: int, statement: Statement, past: Iterable[Statement], at_ms: int
) -> None:
    signers = verify(Kind.GRANT, signed, statement.owner_keys)
    if count_owners(signers, statement, past, at_ms) < needed:
        raise WrongGrantError(
            "this household's consent policy asks for two owners, each of them for 72 hours",
            do="let another owner sign the grant too",
        )
