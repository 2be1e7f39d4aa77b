"""Keys of the age format, native X25519 kind: who can open, and who is sealed to.

Format: C2SP age.md, "The X25519 recipient type"; spelling: Bech32 of BIP 173
without its limit of 90 characters. A recipient is written in lower case, an
identity in upper case; any other spelling is refused.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import Random

KEY_BYTES: Final = 32
_RECIPIENT_PREFIX: Final = "age"
_IDENTITY_PREFIX: Final = "age-secret-key-"

_CHARSET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM_CHARS: Final = 6


class MalformedKeyError(BadMessageError):
    """A text is no age recipient or identity, or the key it spells is of no use.

    The text itself is never in the message: it may be a secret with one wrong letter.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Recipient:
    """A public key that boxes are sealed to; ``age1…`` in text.

    Attributes:
        public: The Montgomery u-coordinate, 32 bytes (RFC 7748 section 5).
    """

    public: bytes

    def __post_init__(self) -> None:
        _require_key_length(self.public)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the recipient spelled by ``text``; the inverse of `str`.

        Raises:
            MalformedKeyError: It is not a lower-case ``age1…`` with a whole checksum.
        """
        return cls(_from_bech32(_RECIPIENT_PREFIX, text))

    def __str__(self) -> str:
        return _to_bech32(_RECIPIENT_PREFIX, self.public)

    def __repr__(self) -> str:
        return f"Recipient({self})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Recipient):
            return NotImplemented
        return hmac.compare_digest(self.public, other.public)

    def __hash__(self) -> int:
        return hash(self.public)


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A private key that opens what was sealed to its recipient.

    `str` spells the secret, for identity files; `repr` never shows it.

    Attributes:
        secret: The X25519 scalar before clamping, 32 bytes.
    """

    secret: bytes

    def __post_init__(self) -> None:
        _require_key_length(self.secret)

    @classmethod
    def generate(cls, random: Random) -> Self:
        """Return a new identity from 32 bytes of ``random``."""
        return cls(random(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the identity spelled by ``text``; the inverse of `str`.

        Raises:
            MalformedKeyError: It is not an upper-case ``AGE-SECRET-KEY-1…`` with a whole checksum.
        """
        if text != text.upper():
            raise _malformed("an age identity is written in upper case")
        return cls(_from_bech32(_IDENTITY_PREFIX, text.lower()))

    def recipient(self) -> Recipient:
        """Return the public half."""
        key = X25519PrivateKey.from_private_bytes(self.secret)
        return Recipient(key.public_key().public_bytes_raw())

    def __str__(self) -> str:
        return _to_bech32(_IDENTITY_PREFIX, self.secret).upper()

    def __repr__(self) -> str:
        return f"Identity(of {self.recipient()})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Identity):
            return NotImplemented
        return hmac.compare_digest(self.secret, other.secret)

    def __hash__(self) -> int:
        return hash(self.recipient())


def shared_secret(secret: bytes, public: bytes) -> bytes:
    """Return X25519 of a scalar and a point, 32 bytes each.

    Raises:
        MalformedKeyError: The point is of low order, so the result would be no secret; age
            demands the refusal.
    """
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:
        raise _malformed("this public key gives everybody the same secret") from error


def _malformed(fact: str) -> MalformedKeyError:
    return MalformedKeyError(fact, do="copy the key again, whole, from where it was made")


def _require_key_length(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise _malformed(f"an age key has {KEY_BYTES} bytes, not {len(key)}")


def _to_bech32(prefix: str, data: bytes) -> str:
    values = _regroup(data, 8, 5, pad=True)
    check = _polymod([*_expand(prefix), *values, *[0] * _CHECKSUM_CHARS]) ^ 1
    checksum = [check >> 5 * (_CHECKSUM_CHARS - 1 - i) & 31 for i in range(_CHECKSUM_CHARS)]
    return f"{prefix}1" + "".join(_CHARSET[value] for value in [*values, *checksum])


def _from_bech32(prefix: str, text: str) -> bytes:
    start, separator, spelled = text.rpartition("1")
    if start != prefix or not separator:
        raise _malformed(f"this age key does not begin with {prefix}1")
    values = [_CHARSET.find(letter) for letter in spelled]
    if -1 in values:
        raise _malformed("this age key holds a letter that no key has")
    if _polymod([*_expand(prefix), *values]) != 1:
        raise _malformed("the checksum of this age key does not hold: a letter is wrong or missing")
    return bytes(_regroup(values[:-_CHECKSUM_CHARS], 5, 8, pad=False))


def _expand(prefix: str) -> list[int]:
    letters = prefix.encode()
    return [*(letter >> 5 for letter in letters), 0, *(letter & 31 for letter in letters)]


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= term
    return check


def _regroup(values: Iterable[int], width: int, wanted: int, *, pad: bool) -> list[int]:
    """Return the same bits in groups of ``wanted`` instead of ``width``.

    Raises:
        MalformedKeyError: Without ``pad``: what is left over is a whole group, or not zero.
    """
    bits = 0
    count = 0
    groups = []
    for value in values:
        bits = bits << width | value
        count += width
        while count >= wanted:
            count -= wanted
            groups.append(bits >> count & (1 << wanted) - 1)
    left = bits & (1 << count) - 1
    if pad and count:
        groups.append(left << wanted - count)
    elif count >= width or left:
        raise _malformed("this age key has bits left over")
    return groups
