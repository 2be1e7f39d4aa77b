"""Pydantic field types for what travels: ids, times, hashes, recipients, words of people.

Every number has bounds and every text a pattern, so that a model that was
built is a model that holds.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StringConstraints

from doorstep_shared.age_keys import Recipient
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import (
    BASE32_ID_PATTERN,
    DEVICE_ID_PATTERN,
    UUID7_PATTERN,
    AgencyId,
    ClipId,
    DeviceId,
    EventId,
    HouseholdId,
    MemberId,
    OfficerId,
    OperatorId,
    ReleaseId,
    RequestId,
)
from doorstep_shared.terminal import commands_terminal

MAX_SAFE_INT: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps (RFC 8785, RFC 7493)."""

HouseholdIdField = Annotated[HouseholdId, StringConstraints(pattern=BASE32_ID_PATTERN)]
MemberIdField = Annotated[MemberId, StringConstraints(pattern=BASE32_ID_PATTERN)]
DeviceIdField = Annotated[DeviceId, StringConstraints(pattern=DEVICE_ID_PATTERN)]
ClipIdField = Annotated[ClipId, StringConstraints(pattern=UUID7_PATTERN)]
EventIdField = Annotated[EventId, StringConstraints(pattern=UUID7_PATTERN)]
AgencyIdField = Annotated[AgencyId, StringConstraints(pattern=BASE32_ID_PATTERN)]
OfficerIdField = Annotated[OfficerId, StringConstraints(pattern=BASE32_ID_PATTERN)]
OperatorIdField = Annotated[OperatorId, StringConstraints(pattern=BASE32_ID_PATTERN)]
RequestIdField = Annotated[RequestId, StringConstraints(pattern=BASE32_ID_PATTERN)]
ReleaseIdField = Annotated[ReleaseId, StringConstraints(pattern=BASE32_ID_PATTERN)]

MAX_TIME_MS: Final = 253_370_764_799_999
"""The last millisecond of the year 9998 in UTC.

A larger number is no date to most readers: RFC 3339 and Python end with 9999. The
year before the end leaves room for a time zone, and for an epoch from there on. It
is no sooner, because a doorbell whose clock runs wild shall ring all the same.
"""

Milliseconds = Annotated[int, Field(ge=0, le=MAX_TIME_MS)]
"""Unix milliseconds of a moment from 1970 to 9998."""

Counter = Annotated[int, Field(ge=0, le=MAX_SAFE_INT)]


def _recipient(text: str) -> str:
    try:
        return str(Recipient.parse(text))
    except BadMessageError as error:
        raise ValueError(error.fact) from error


RecipientText = Annotated[str, StringConstraints(max_length=62), AfterValidator(_recipient)]
"""An age X25519 recipient, ``age1…``, checked down to its checksum."""


def _written(text: str) -> str:
    if text != text.strip() or not text:
        raise ValueError("words are wanted, with no space around them")
    if any(commands_terminal(character) for character in text if character != "\n"):
        raise ValueError("there is a character in it that could command a terminal")
    return text


def _on_one_line(text: str) -> str:
    if "\n" in text:
        raise ValueError("one line is wanted")
    return text


WrittenText = Annotated[str, AfterValidator(_written)]
"""Words that a person wrote, on any number of lines: not blank, and safe to show anywhere."""

LineText = Annotated[WrittenText, AfterValidator(_on_one_line)]
"""The same on one line."""

MAX_NAME_CHARS: Final = 100
NameText = Annotated[LineText, Field(max_length=MAX_NAME_CHARS)]
"""What a person or an agency is called."""
