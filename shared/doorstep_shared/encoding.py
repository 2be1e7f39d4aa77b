"""Bytes inside JSON: base64url without padding, and nothing else.

A decoder takes exactly what the encoder makes: other alphabets, padding and
stray trailing bits are refused, so that one value has one spelling.
"""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from doorstep_shared.errors import BadMessageError


def to_base64url(data: bytes) -> str:
    """Return ``data`` as base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_base64url(text: str) -> bytes:
    """Return the bytes that `to_base64url` spelled as ``text``.

    Raises:
        BadMessageError: It is not base64url without padding.
    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMessageError("this is not base64url") from error
    if to_base64url(data) != text:
        raise BadMessageError("this is base64url in another spelling")
    return data


def _bytes_of(value: object) -> object:
    if isinstance(value, str):
        try:
            return from_base64url(value)
        except BadMessageError as error:
            raise ValueError(error.fact) from error
    return value


def _exactly(length: int) -> AfterValidator:
    def check(value: bytes) -> bytes:
        if len(value) != length:
            raise ValueError(f"{length} bytes are wanted, not {len(value)}")
        return value

    return AfterValidator(check)


Base64Bytes = Annotated[
    bytes, BeforeValidator(_bytes_of), PlainSerializer(to_base64url, when_used="json")
]
"""A pydantic field: bytes in the model, base64url in JSON."""

Base64Bytes32 = Annotated[Base64Bytes, _exactly(32)]
"""The same for exactly 32 bytes: a key or a SHA-256."""

Base64Bytes64 = Annotated[Base64Bytes, _exactly(64)]
"""The same for exactly 64 bytes: an Ed25519 signature."""
