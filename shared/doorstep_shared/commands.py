"""What an owner tells a doorbell to do: signed, counted, for a time.

The service carries a command and cannot make one. A doorbell does what an
owner of its head signed, for itself, before the end, and above the counter it
has kept; and it keeps the new counter before it begins.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from doorstep_shared.fields import (
    ClipIdField,
    Counter,
    DeviceIdField,
    HouseholdIdField,
    Milliseconds,
)
from doorstep_shared.signing import Kind, Signed, SigningKey, VerifyKey, read_body, sign, verify

MAX_CLIPS: Final = 128
"""Clips in one command; with its signatures it fits into 8 KiB."""

MAX_COMMAND_BYTES: Final = 8 * 1024


class CommandName(StrEnum):
    """What a doorbell can be told to do; also the last level of the topic."""

    DELETE = "delete"


class Command(BaseModel):
    """The body of a command.

    Attributes:
        counter: Above every earlier command's of this doorbell.
        at: When it was signed.
        expires: From then on it is not done.
        clips: Those to delete; None with ``until``.
        until: Delete every clip that began until then; None with ``clips``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    household: HouseholdIdField
    device: DeviceIdField
    counter: Annotated[Counter, Field(ge=1)]
    at: Milliseconds
    expires: Milliseconds
    name: CommandName
    clips: Annotated[tuple[ClipIdField, ...], Field(min_length=1, max_length=MAX_CLIPS)] | None
    until: Milliseconds | None

    @model_validator(mode="after")
    def _names_clips_in_one_way(self) -> Self:
        if (self.clips is None) == (self.until is None):
            raise ValueError("a command to delete names clips or a time, and not both")
        return self


def sign_command(command: Command, key: SigningKey) -> Signed:
    """Return ``command`` signed by an owner."""
    return sign(Kind.COMMAND, command.model_dump(mode="json"), key)


def verify_command(signed: Signed, owners: Sequence[VerifyKey]) -> Command:
    """Return the command in ``signed``, signed by one of ``owners``.

    Whether it is for this doorbell, in time and new, the caller asks.

    Raises:
        WrongSignatureError: None of ``owners`` signed it.
        BadMessageError: It is not a version 1 command.
    """
    verify(Kind.COMMAND, signed, owners)
    return read_body(Kind.COMMAND, signed.body, Command)
