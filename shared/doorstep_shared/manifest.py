"""What a doorbell says of a clip, signed: whose, when, which bytes.

age does not authenticate senders; the manifest does. It binds three objects
(the file, its thumbnail, its details) by length and SHA-256 of envelope and
payload, and names the manifest before it, so that a missing clip shows.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from doorstep_shared.encoding import Base64Bytes32
from doorstep_shared.fields import (
    ClipIdField,
    Counter,
    DeviceIdField,
    EventIdField,
    HouseholdIdField,
    Milliseconds,
    RecipientText,
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

MAX_PAYLOAD_BYTES: Final = 32 * 1024 * 1024
MAX_THUMB_BYTES: Final = 256 * 1024
MAX_ENVELOPE_BYTES: Final = 2 * 1024
MAX_EVENTS: Final = 32


class ClipKind(StrEnum):
    """Why a clip was recorded; a ring wins over motion."""

    RING = "ring"
    MOTION = "motion"


class ObjectName(StrEnum):
    """The three sealed objects of a clip."""

    FILE = "file"
    THUMB = "thumb"
    DETAILS = "details"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvelopeFacts(_Part):
    """Length in bytes and SHA-256 of an envelope (an age header)."""

    length: Annotated[int, Field(ge=1, le=MAX_ENVELOPE_BYTES)]
    sha256: Base64Bytes32


class PayloadFacts(_Part):
    """Length in bytes and SHA-256 of a payload (the rest of the age file)."""

    length: Annotated[int, Field(ge=1, le=MAX_PAYLOAD_BYTES)]
    sha256: Base64Bytes32


class ObjectFacts(_Part):
    """Both halves of one sealed object."""

    envelope: EnvelopeFacts
    payload: PayloadFacts


class Manifest(_Part):
    """The body of a manifest.

    Attributes:
        seq: Counts this doorbell's clips from 1.
        prev: SHA-256 of the previous manifest's body; None for the first.
        recipient: The epoch key all three objects are sealed to.
        part: Counts the parts of a long event from 1.
        last: Whether this is the event's last part.
        pre_roll_ms: How much of the clip lies before its first event.
        start: Of the first frame, Unix milliseconds by the doorbell's clock.
        end: Of the last frame.
        clock_synced: Whether that clock was set by NTP at the start.
        truncated: The recording was cut and holds what was whole.
    """

    v: Literal[1] = 1
    household: HouseholdIdField
    device: DeviceIdField
    clip: ClipIdField
    seq: Annotated[Counter, Field(ge=1)]
    prev: Base64Bytes32 | None
    epoch: Annotated[Counter, Field(ge=1)]
    recipient: RecipientText
    kind: ClipKind
    events: Annotated[tuple[EventIdField, ...], Field(min_length=1, max_length=MAX_EVENTS)]
    part: Annotated[Counter, Field(ge=1)] = 1
    last: bool = True
    pre_roll_ms: Annotated[int, Field(ge=0, le=60_000)]
    start: Milliseconds
    end: Milliseconds
    clock_synced: bool
    truncated: bool = False
    file: ObjectFacts
    thumb: ObjectFacts | None
    details: ObjectFacts | None

    @model_validator(mode="after")
    def _holds_together(self) -> "Manifest":
        if self.end < self.start:
            raise ValueError("a clip ends after it starts")
        if (self.prev is None) != (self.seq == 1):
            raise ValueError("only the first manifest has no predecessor")
        if len(set(self.events)) != len(self.events):
            raise ValueError("an event is listed twice")
        if self.thumb is not None and self.thumb.payload.length > MAX_THUMB_BYTES:
            raise ValueError(f"a thumbnail has at most {MAX_THUMB_BYTES} bytes")
        return self

    @property
    def objects(self) -> dict[ObjectName, ObjectFacts]:
        """Return the objects this clip has, the file first."""
        named = {
            ObjectName.FILE: self.file,
            ObjectName.THUMB: self.thumb,
            ObjectName.DETAILS: self.details,
        }
        return {name: facts for name, facts in named.items() if facts is not None}


def sign_manifest(manifest: Manifest, key: SigningKey) -> Signed:
    """Return ``manifest`` signed by its doorbell."""
    return sign(Kind.MANIFEST, manifest.model_dump(mode="json"), key)


def read_manifest(signed: Signed) -> Manifest:
    """Return the manifest in ``signed`` without asking who signed it.

    Raises:
        BadMessageError: It is not a version 1 manifest.
    """
    parse_canonical(signed.body)
    return read_body(Kind.MANIFEST, signed.body, Manifest)


def verify_manifest(signed: Signed, key: VerifyKey) -> Manifest:
    """Return the manifest in ``signed``, signed by ``key``.

    Raises:
        WrongSignatureError: ``key`` did not sign it.
        BadMessageError: It is not a version 1 manifest.
    """
    verify(Kind.MANIFEST, signed, (key,))
    return read_manifest(signed)
