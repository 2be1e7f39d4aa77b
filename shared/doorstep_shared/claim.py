"""The claim: how a doorbell learns, from its owner alone, whom to trust.

The owner's client prints it; the doorbell reads it from its card, or from a
QR code while it has no owner. It holds a secret K that the service never sees
whole: the service knows the claim's id, derived from K, and can neither make
the MAC that binds a doorbell's keys nor change the household's root.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from doorstep_shared.crc32c import crc32c
from doorstep_shared.encoding import to_base64url
from doorstep_shared.errors import BadMessageError, RefusedError
from doorstep_shared.ids import DeviceId, Random
from doorstep_shared.signing import canonical

MAX_PART_CHARS: Final = 64
"""A QR code of 64 characters is still read by a fixed-focus camera."""

MAX_URL_BYTES: Final = 200

_MARK = "DS1."
_FIXED_BYTES = 16 + 32 + 32
_CRC_BYTES = 4
_PART = re.compile(r"DS1\.(?P<i>[1-9])\.(?P<n>[1-9])\.(?P<piece>[A-Z2-7]+)")


class WrongBindingError(RefusedError):
    """A doorbell's keys are not the ones its claim vouches for."""


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The three public keys a doorbell made for itself, and its id.

    Attributes:
        tls_key: DER SubjectPublicKeyInfo, P-256.
        manifest_key: Raw Ed25519 public key.
        age_recipient: ``age1…``.
    """

    device: DeviceId
    tls_key: bytes
    manifest_key: bytes
    age_recipient: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, version 1.

    Attributes:
        secret: K, 16 random bytes.
        ca_sha256: SHA-256 of the service's CA certificate in DER.
        root: The household's root.
        url: Of the service.
    """

    secret: bytes = field(repr=False)
    ca_sha256: bytes
    root: bytes
    url: str

    @classmethod
    def draw(cls, random: Random, *, ca_sha256: bytes, root: bytes, url: str) -> "Claim":
        """Return a new claim with a secret from ``random``."""
        return cls(secret=random(16), ca_sha256=ca_sha256, root=root, url=url)

    def __str__(self) -> str:
        """Return the claim as one line of text; `parse_claim` is the inverse."""
        return _MARK + self._packed()

    def parts(self) -> tuple[str, ...]:
        """Return the claim as texts of at most 64 characters, one per QR code."""
        packed = self._packed()
        room = MAX_PART_CHARS - len("DS1.i.n.")
        pieces = [packed[at : at + room] for at in range(0, len(packed), room)]
        return tuple(f"{_MARK}{i}.{len(pieces)}.{piece}" for i, piece in enumerate(pieces, start=1))

    @property
    def claim_id(self) -> bytes:
        """Return the 16 bytes by which the service knows this claim."""
        return self._derive("claim-id", 16)

    @property
    def setup_key(self) -> bytes:
        """Return the 32 bytes kept by household and doorbell for later set-up."""
        return self._derive("setup", 32)

    def bind(self, keys: DeviceKeys) -> bytes:
        """Return the MAC that vouches for ``keys``."""
        body = canonical(
            {
                "device": keys.device,
                "tls_key": to_base64url(keys.tls_key),
                "manifest_key": to_base64url(keys.manifest_key),
                "age_recipient": keys.age_recipient,
            }
        )
        return hmac.digest(self._derive("bind", 32), b"doorstep/v1/bind\0" + body, "sha256")

    def check_binding(self, keys: DeviceKeys, mac: bytes) -> None:
        """Return if ``mac`` vouches for ``keys``.

        Raises:
            WrongBindingError: It does not: somebody else put these keys there.
        """
        if not hmac.compare_digest(self.bind(keys), mac):
            raise WrongBindingError(
                "the doorbell that answered this claim does not know its secret",
                safe="It was not added to your household.",
                do="doorstep device add        (makes a new claim; write it to the card again)",
            )

    def _packed(self) -> str:
        data = self.secret + self.ca_sha256 + self.root + self.url.encode()
        sealed = data + crc32c(data).to_bytes(_CRC_BYTES, "big")
        return base64.b32encode(sealed).decode().rstrip("=")

    def _derive(self, purpose: str, length: int) -> bytes:
        # RFC 5869; an empty salt is HashLen zero bytes.
        info = b"doorstep/v1/" + purpose.encode()
        return HKDF(SHA256(), length, salt=None, info=info).derive(self.secret)


def parse_claim(text: str) -> Claim:
    """Return the claim in ``text``, one line; spaces, line ends and case do not matter.

    Raises:
        BadMessageError: Not a claim, or mistyped.
    """
    packed = "".join(text.split()).upper()
    if not packed.startswith(_MARK):
        raise BadMessageError("a claim begins with DS1.")
    packed = packed.removeprefix(_MARK)
    try:
        sealed = base64.b32decode(packed + "=" * (-len(packed) % 8))
    except (binascii.Error, ValueError) as error:
        raise BadMessageError("this claim holds characters no claim has") from error
    data, crc = sealed[:-_CRC_BYTES], sealed[-_CRC_BYTES:]
    if not _FIXED_BYTES < len(data) <= _FIXED_BYTES + MAX_URL_BYTES:
        raise BadMessageError("this claim is too short or too long")
    if crc32c(data).to_bytes(_CRC_BYTES, "big") != crc:
        raise BadMessageError("this claim is mistyped: its checksum does not fit")
    try:
        url = data[_FIXED_BYTES:].decode()
    except UnicodeDecodeError as error:
        raise BadMessageError("this claim's address is not text") from error
    return Claim(secret=data[:16], ca_sha256=data[16:48], root=data[48:80], url=url)


def join_parts(parts: Iterable[str]) -> Claim:
    """Return the claim whose QR parts these are, in any order, repeated or not.

    Raises:
        BadMessageError: A part is missing or of another claim.
    """
    pieces: dict[int, str] = {}
    wanted: set[int] = set()
    for part in parts:
        number, count, piece = _split_part(part)
        if pieces.setdefault(number, piece) != piece:
            raise BadMessageError("these codes belong to two claims")
        wanted.add(count)
    if len(wanted) != 1 or set(pieces) != set(range(1, max(wanted, default=0) + 1)):
        raise BadMessageError("a code of this claim is still missing")
    return parse_claim(_MARK + "".join(pieces[number] for number in sorted(pieces)))


def fingerprint(ca_certificate_der: bytes) -> bytes:
    """Return the SHA-256 by which a claim names the service's CA."""
    return hashlib.sha256(ca_certificate_der).digest()


def _split_part(part: str) -> tuple[int, int, str]:
    match = _PART.fullmatch(part.strip())
    if match is None or not 1 <= int(match["i"]) <= int(match["n"]):
        raise BadMessageError("this code is not part of a claim")
    return int(match["i"]), int(match["n"]), match["piece"]
