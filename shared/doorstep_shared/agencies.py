"""Agencies: who may put a question, enrolled by two operators and published.

The record holds the key that every request of the agency is signed with. One
operator alone, or a service alone, makes no agency: two different operators sign
the same bytes, and every client checks both.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from doorstep_shared.consent import AgencyKind
from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.errors import RefusedError
from doorstep_shared.fields import AgencyIdField, LineText, Milliseconds, NameText
from doorstep_shared.signing import (
    Kind,
    Signature,
    Signed,
    SigningKey,
    VerifyKey,
    parse_canonical,
    read_body,
    sign,
    verify,
)

OPERATORS_NEEDED: Final = 2
MAX_CONTACT_CHARS: Final = 200
MAX_URL_CHARS: Final = 300

# A host, perhaps a port, perhaps a path: no user, no space, no line, ASCII throughout.
_HTTPS_PATTERN: Final = r"^https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[!-~]*)?$"


class OneOperatorError(RefusedError):
    """An agency is enrolled by two different operators, and by fewer it is not."""


class AgencyRecord(BaseModel):
    """The body of an agency's record.

    Attributes:
        name: What it is called, in public.
        contact: Where anybody reaches it: published, not a person's own.
        agreement_url: Where the agreement with it is published.
        agreement_sha256: Of the document found there.
        sign_key: Raw Ed25519 public key of its requests.
        at: When it was proposed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    agency: AgencyIdField
    name: NameText
    kind: AgencyKind
    contact: Annotated[LineText, Field(max_length=MAX_CONTACT_CHARS)]
    agreement_url: Annotated[str, Field(max_length=MAX_URL_CHARS, pattern=_HTTPS_PATTERN)]
    agreement_sha256: Base64Bytes32
    sign_key: Base64Bytes32
    at: Milliseconds

    @property
    def verify_key(self) -> VerifyKey:
        """Return the key that the agency's requests are signed with."""
        return VerifyKey(self.sign_key)


def sign_agency(record: AgencyRecord, *operators: SigningKey) -> Signed:
    """Return ``record`` signed by ``operators``: by one it is a proposal."""
    return sign(Kind.AGENCY, record.model_dump(mode="json"), *operators)


def confirm_agency(proposed: Signed, operator: SigningKey) -> Signed:
    """Return the ``proposed`` record with the signature of ``operator`` beside the first.

    Verify and read it before: `verify_proposal`.

    Raises:
        OneOperatorError: They signed it already.
    """
    key = operator.public.key_id
    if any(signature.key == key for signature in proposed.sigs):
        raise _one_operator()
    added = Signature(key=key, sig=operator.sign_bytes(Kind.AGENCY, proposed.body))
    return Signed(body=proposed.body, sigs=(*proposed.sigs, added))


def read_agency(signed: Signed) -> AgencyRecord:
    """Return the record in ``signed`` without asking who signed it.

    Raises:
        BadMessageError: It is not a version 1 agency.
    """
    parse_canonical(signed.body)
    return read_body(Kind.AGENCY, signed.body, AgencyRecord)


def verify_proposal(signed: Signed, operators: Iterable[VerifyKey]) -> AgencyRecord:
    """Return the record in ``signed``, signed by one of ``operators`` at least.

    Raises:
        WrongSignatureError: None of them signed it, or one falsely.
        BadMessageError: It is not a version 1 agency.
    """
    verify(Kind.AGENCY, signed, operators)
    return read_agency(signed)


def verify_agency(signed: Signed, operators: Iterable[VerifyKey]) -> AgencyRecord:
    """Return the record in ``signed``, signed by two different ones of ``operators``.

    Raises:
        OneOperatorError: Only one of them signed it.
        WrongSignatureError: None of them did, or one falsely.
        BadMessageError: It is not a version 1 agency.
    """
    if len(verify(Kind.AGENCY, signed, operators)) < OPERATORS_NEEDED:
        raise _one_operator()
    return read_agency(signed)


def _one_operator() -> OneOperatorError:
    return OneOperatorError(
        "an agency is enrolled by two different operators",
        safe="Nothing of this agency counts until then.",
        do="let another operator confirm it",
    )
