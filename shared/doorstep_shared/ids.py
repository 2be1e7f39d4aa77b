"""Names of things: typed, checked, and made from randomness the caller brings.

Clips and events carry a UUIDv7 (RFC 9562 section 5.7), so that they sort by
the moment they were made. Households and members carry 128 random bits, so
that they say nothing; so does everything that an agency or the public sees. A
device draws its whole id, shard included.
"""

import base64
import re
from collections.abc import Callable
from typing import Final, NewType

from doorstep_shared.errors import BadMessageError

HouseholdId = NewType("HouseholdId", str)
MemberId = NewType("MemberId", str)
DeviceId = NewType("DeviceId", str)
ClipId = NewType("ClipId", str)
EventId = NewType("EventId", str)
AgencyId = NewType("AgencyId", str)
OfficerId = NewType("OfficerId", str)
OperatorId = NewType("OperatorId", str)
RequestId = NewType("RequestId", str)
ReleaseId = NewType("ReleaseId", str)

Random = Callable[[int], bytes]
"""Returns that many bytes of cryptographic randomness; `secrets.token_bytes`."""

_BASE32 = "[a-z2-7]{26}"
BASE32_ID_PATTERN: Final = f"^{_BASE32}$"
DEVICE_ID_PATTERN: Final = f"^[0-9a-f]{{2}}-{_BASE32}$"
UUID7_PATTERN: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"


def draw_household_id(random: Random) -> HouseholdId:
    """Return a new household id: 26 base32 characters of 128 random bits."""
    return HouseholdId(_draw_base32(random))


def draw_member_id(random: Random) -> MemberId:
    """Return a new member id: 26 base32 characters of 128 random bits."""
    return MemberId(_draw_base32(random))


def draw_agency_id(random: Random) -> AgencyId:
    """Return a new agency id: 26 base32 characters of 128 random bits."""
    return AgencyId(_draw_base32(random))


def draw_officer_id(random: Random) -> OfficerId:
    """Return a new officer id: 26 base32 characters of 128 random bits."""
    return OfficerId(_draw_base32(random))


def draw_operator_id(random: Random) -> OperatorId:
    """Return a new operator id: 26 base32 characters of 128 random bits."""
    return OperatorId(_draw_base32(random))


def draw_request_id(random: Random) -> RequestId:
    """Return a new request id: 26 base32 characters of 128 random bits."""
    return RequestId(_draw_base32(random))


def draw_release_id(random: Random) -> ReleaseId:
    """Return a new release id: 26 base32 characters of 128 random bits."""
    return ReleaseId(_draw_base32(random))


def draw_device_id(random: Random) -> DeviceId:
    """Return a new device id: a shard of two hex digits, a dash, 128 random bits."""
    return DeviceId(f"{random(1).hex()}-{_draw_base32(random)}")


def draw_clip_id(now_ms: int, random: Random) -> ClipId:
    """Return a new clip id made at ``now_ms`` (Unix milliseconds)."""
    return ClipId(_uuid7(now_ms, random))


def draw_event_id(now_ms: int, random: Random) -> EventId:
    """Return a new event id made at ``now_ms`` (Unix milliseconds)."""
    return EventId(_uuid7(now_ms, random))


def shard_of(device: DeviceId) -> str:
    """Return the two hex digits that say which part of the topics is the device's."""
    return device[:2]


def parse_device_id(text: str) -> DeviceId:
    """Return ``text`` as a device id.

    Raises:
        BadMessageError: It is not one.
    """
    return DeviceId(_match(DEVICE_ID_PATTERN, text, "device id"))


def parse_clip_id(text: str) -> ClipId:
    """Return ``text`` as a clip id.

    Raises:
        BadMessageError: It is not a lower-case UUIDv7.
    """
    return ClipId(_match(UUID7_PATTERN, text, "clip id"))


def parse_agency_id(text: str) -> AgencyId:
    """Return ``text`` as an agency id.

    Raises:
        BadMessageError: It is not 26 base32 characters in lower case.
    """
    return AgencyId(_match(BASE32_ID_PATTERN, text, "agency id"))


def parse_officer_id(text: str) -> OfficerId:
    """Return ``text`` as an officer id.

    Raises:
        BadMessageError: It is not 26 base32 characters in lower case.
    """
    return OfficerId(_match(BASE32_ID_PATTERN, text, "officer id"))


def parse_operator_id(text: str) -> OperatorId:
    """Return ``text`` as an operator id.

    Raises:
        BadMessageError: It is not 26 base32 characters in lower case.
    """
    return OperatorId(_match(BASE32_ID_PATTERN, text, "operator id"))


def parse_request_id(text: str) -> RequestId:
    """Return ``text`` as a request id.

    Raises:
        BadMessageError: It is not 26 base32 characters in lower case.
    """
    return RequestId(_match(BASE32_ID_PATTERN, text, "request id"))


def parse_release_id(text: str) -> ReleaseId:
    """Return ``text`` as a release id.

    Raises:
        BadMessageError: It is not 26 base32 characters in lower case.
    """
    return ReleaseId(_match(BASE32_ID_PATTERN, text, "release id"))


def _draw_base32(random: Random) -> str:
    return base64.b32encode(random(16)).decode().rstrip("=").lower()


def _uuid7(now_ms: int, random: Random) -> str:
    # RFC 9562 section 5.7: 48 bits of milliseconds, version 7, variant 10, the rest random.
    value = (now_ms & (1 << 48) - 1) << 80 | int.from_bytes(random(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    digits = f"{value:032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _match(pattern: str, text: str, what: str) -> str:
    if re.fullmatch(pattern, text) is None:
        raise BadMessageError(f"this is not a {what}: {text[:48]!r}")
    return text
