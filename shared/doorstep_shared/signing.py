"""One way to sign, for everything that is signed.

The bytes under a signature are ``"doorstep/v1/" + kind + 0x00 + JCS(body)``:
RFC 8785 canonical JSON, so that a body has one spelling, behind a kind, so
that a signature over one sort of thing is never one over another. Signatures
are Ed25519 (RFC 8032). Signed things travel and rest as bytes; a verifier
checks those bytes, then requires that they are their own canonical form.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Final, NoReturn, TypeAlias, TypeVar

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_shared.encoding import Base64Bytes, Base64Bytes32, Base64Bytes64
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import Random

Json: TypeAlias = "str | int | bool | Sequence[Json] | Mapping[str, Json] | None"
"""What a signed body may hold: JSON without fractions."""

MAX_BODY_BYTES: Final = 48 * 1024
MAX_DEPTH: Final = 8
MAX_SIGNATURES: Final = 16

_PREFIX = b"doorstep/v1/"

Form = TypeVar("Form", bound=BaseModel)


class Kind(StrEnum):
    """Everything that is ever signed; a verifier accepts exactly one of these."""

    STATEMENT = "statement"
    MANIFEST = "manifest"
    RECEIPT = "receipt"
    SIGN_IN = "sign-in"
    DELETION = "deletion"
    COMMAND = "command"
    CONSENT_POLICY = "consent-policy"
    AGENCY = "agency"
    REQUEST = "request"
    GRANT = "grant"
    CUSTODY = "custody"


class WrongSignatureError(RefusedError):
    """A signature is missing, is another key's, or does not fit the bytes."""


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """The public half of an Ed25519 key.

    Attributes:
        raw: 32 bytes (RFC 8032 section 5.1.5).
    """

    raw: bytes

    @property
    def key_id(self) -> bytes:
        """Return the key's name in a signature: SHA-256 of its raw bytes."""
        return hashlib.sha256(self.raw).digest()

    def check(self, kind: Kind, body: bytes, signature: bytes) -> None:
        """Return if ``signature`` is this key's over ``body`` as a ``kind``.

        Raises:
            WrongSignatureError: It is not.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, _message(kind, body))
        except (InvalidSignature, ValueError) as error:
            raise WrongSignatureError(f"a signature does not fit this {kind}") from error


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of an Ed25519 key; never printed.

    Attributes:
        seed: 32 secret bytes (RFC 8032 section 5.1.5).
    """

    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, random: Random) -> "SigningKey":
        """Return a new key from 32 bytes of ``random``."""
        return cls(random(32))

    @property
    def public(self) -> VerifyKey:
        """Return the half that may be shown."""
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifyKey(private.public_key().public_bytes_raw())

    def sign_bytes(self, kind: Kind, body: bytes) -> bytes:
        """Return this key's 64-byte signature over canonical ``body`` as a ``kind``."""
        return Ed25519PrivateKey.from_private_bytes(self.seed).sign(_message(kind, body))


class Signature(BaseModel):
    """One signature in a container.

    Attributes:
        key: SHA-256 of the raw public key.
        sig: 64 bytes of Ed25519.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: Base64Bytes32
    sig: Base64Bytes64


class Signed(BaseModel):
    """The signed container: canonical body bytes and who signed them.

    Attributes:
        body: JCS bytes, at most 48 KiB.
        sigs: One to sixteen signatures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    body: Annotated[Base64Bytes, Field(min_length=2, max_length=MAX_BODY_BYTES)]
    sigs: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=MAX_SIGNATURES)]

    def encode(self) -> bytes:
        """Return the container as JSON; `decode_signed` is the inverse."""
        return canonical(self.model_dump(mode="json"))

    @property
    def body_hash(self) -> bytes:
        """Return SHA-256 of the body bytes."""
        return hashlib.sha256(self.body).digest()


def decode_signed(data: bytes) -> Signed:
    """Return the container in ``data``; nothing in it is verified yet.

    Raises:
        BadMessageError: It is not a signed container.
    """
    try:
        return Signed.model_validate_json(data)
    except ValidationError as error:
        raise BadMessageError("this is not a signed container") from error


def sign(kind: Kind, body: Mapping[str, Json], *keys: SigningKey) -> Signed:
    """Return ``body`` in a container, signed as a ``kind`` by each of ``keys``.

    Raises:
        BadMessageError: The body holds what canonical JSON cannot: a fraction,
            an integer beyond 2^53, a lone surrogate.
    """
    data = canonical(body)
    return Signed(
        body=data,
        sigs=tuple(
            Signature(key=key.public.key_id, sig=key.sign_bytes(kind, data)) for key in keys
        ),
    )


def verify(kind: Kind, signed: Signed, keys: Iterable[VerifyKey]) -> frozenset[bytes]:
    """Return the ids of those of ``keys`` that signed ``signed`` as a ``kind``.

    Signatures of keys not among ``keys`` are passed over; a wrong signature
    under the name of one of ``keys`` refuses the whole.

    Raises:
        WrongSignatureError: None of ``keys`` signed it, or one falsely.
        BadMessageError: The body is not its own canonical form.
    """
    known = {key.key_id: key for key in keys}
    signers = set()
    for signature in signed.sigs:
        if (key := known.get(signature.key)) is not None:
            key.check(kind, signed.body, signature.sig)
            signers.add(signature.key)
    if not signers:
        raise WrongSignatureError(f"nobody who may sign this {kind} signed it")
    parse_canonical(signed.body)
    return frozenset(signers)


def canonical(body: Mapping[str, Json]) -> bytes:
    """Return ``body`` as RFC 8785 bytes.

    Raises:
        BadMessageError: It holds a fraction or what JSON cannot hold.
    """
    _refuse_fractions(body, MAX_DEPTH)
    try:
        return rfc8785.dumps(body)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise BadMessageError("this body has no canonical form") from error


def parse_canonical(data: bytes) -> Mapping[str, Json]:
    """Return the body spelled by ``data``, which must be its canonical form.

    Raises:
        BadMessageError: Not JSON, not an object, a duplicate key, a fraction,
            NaN, nested deeper than eight, or another spelling.
    """
    try:
        body = json.loads(
            data,
            object_pairs_hook=_object_without_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise BadMessageError("this body is not canonical JSON") from error
    if not isinstance(body, dict) or canonical(body) != data:
        raise BadMessageError("this body is not canonical JSON")
    return body


def read_body(kind: Kind, body: bytes, form: type[Form]) -> Form:
    """Return ``body``, whose spelling was checked before, as the version 1 ``form`` of a ``kind``.

    Raises:
        BadMessageError: It has not that form.
    """
    try:
        return form.model_validate_json(body)
    except ValidationError as error:
        raise BadMessageError(f"this is not a version 1 {kind.replace('-', ' ')}") from error


def _message(kind: Kind, body: bytes) -> bytes:
    return _PREFIX + kind.encode() + b"\0" + body


def _object_without_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a whole number")


def _refuse_fractions(value: Json, depth: int) -> None:
    if depth < 0:
        raise BadMessageError(f"this body is nested deeper than {MAX_DEPTH}")
    if isinstance(value, float):
        raise BadMessageError("a signed body holds no fractions")
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_fractions(item, depth - 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            _refuse_fractions(item, depth - 1)
