"""Secrets that people and programs carry: invites, sessions, tokens.

A code is a prefix that says what it is (so that a scanner finds a leaked one)
and 32 base62 characters: 190 random bits, so SHA-256 without salt is enough
to keep it at rest. Codes that people paste end in a checksum.
"""

import hashlib
import re
import string
import zlib
from typing import Final

from doorstep_shared.ids import Random

INVITE: Final = "dst_inv_"
SESSION: Final = "dst_ses_"
TOKEN: Final = "dst_pat_"  # noqa: S105  # the prefix of every token, not one

_BASE62: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_SECRET_CHARS: Final = 32
_CHECKSUM_CHARS: Final = 6
_SECRET: Final = re.compile(f"dst_[a-z]{{3}}_([0-9A-Za-z]{{{_SECRET_CHARS}}})([0-9A-Za-z]*)")


def draw_code(prefix: str, random: Random) -> str:
    """Return a new code without checksum."""
    # 256 bits reduced to 190: the bias is below 2^-65.
    return prefix + _base62(int.from_bytes(random(32), "big"), _SECRET_CHARS)


def draw_checked_code(prefix: str, random: Random) -> str:
    """Return a new code that ends in the CRC-32 of its secret part, 6 base62 characters.

    The form is GitHub's of 2021: a typing error is told from a wrong code
    without asking anybody.
    """
    code = draw_code(prefix, random)
    return code + _checksum(code.removeprefix(prefix))


def is_well_formed(prefix: str, code: str, *, checked: bool) -> bool:
    """Return whether ``code`` could be one of ``prefix``, its checksum included."""
    match = _SECRET.fullmatch(code)
    if match is None or not code.startswith(prefix):
        return False
    return match[2] == (_checksum(match[1]) if checked else "")


def hash_code(code: str) -> bytes:
    """Return what is kept of a code: its SHA-256."""
    return hashlib.sha256(code.encode()).digest()


def _checksum(secret: str) -> str:
    return _base62(zlib.crc32(secret.encode()), _CHECKSUM_CHARS)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
