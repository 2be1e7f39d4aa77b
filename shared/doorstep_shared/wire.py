"""The JSON bodies that travel over MQTT, apart from the transfer's own.

Unsigned bodies are read leniently (an unknown field is passed over, so an old
reader understands a newer writer) and written exactly. What matters in them
is signed and checked further in.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_shared.encoding import Base64Bytes, Base64Bytes32
from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import ClipIdField, Counter, EventIdField, Milliseconds
from doorstep_shared.manifest import MAX_ENVELOPE_BYTES
from doorstep_shared.signing import Signed

MAX_JSON_BYTES: Final = 64 * 1024
MAX_ANNOUNCEMENT_BYTES: Final = 8 * 1024

BootIdField = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
"""128 random bits drawn once per boot, in hex."""

_EnvelopeField = Annotated[Base64Bytes, Field(min_length=1, max_length=MAX_ENVELOPE_BYTES)]


class Alert(StrEnum):
    """How loudly an event asks to be told: a ring is always `NOW`."""

    NOW = "now"
    DIGEST = "digest"
    NONE = "none"


class Body(BaseModel):
    """A JSON body of version 1."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    v: Literal[1] = 1

    def encode(self) -> bytes:
        """Return the body as JSON bytes."""
        return self.model_dump_json().encode()


class StatementHead(BaseModel):
    """Where in the household's chain a doorbell stands."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    seq: Counter
    sha256: Base64Bytes32


class Hello(Body):
    """``ev/hello``: a doorbell is here; answered by what it has not seen yet.

    Attributes:
        connections: Counts this boot's connections from 1.
        agent: Version of the agent.
        statement: The head it holds; None before the first.
        twin: Version of its settings; None before the first.
    """

    boot: BootIdField
    connections: Counter
    agent: Annotated[str, Field(max_length=64)]
    statement: StatementHead | None
    twin: Counter | None = None


class Event(Body):
    """``ev/ring`` and ``ev/motion``: something happened; the topic says what.

    Attributes:
        at: Unix milliseconds by the doorbell's clock.
        clock_synced: Whether that clock was set by NTP.
    """

    event: EventIdField
    at: Milliseconds
    clock_synced: bool
    alert: Alert


class Envelopes(BaseModel):
    """The age headers of a clip's objects; None where the manifest has none."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: _EnvelopeField
    thumb: _EnvelopeField | None = None
    details: _EnvelopeField | None = None


class Announcement(Body):
    """``ev/clip``: a clip exists, this is its signed manifest and its envelopes."""

    manifest: Signed
    envelopes: Envelopes


class CameraState(StrEnum):
    """What the camera is doing, as health tells it."""

    WATCHING = "watching"
    RECORDING = "recording"
    NOT_ALLOWED = "not_allowed"
    FAILED = "failed"


class Health(Body):
    """``ev/health``: every 60 s and on change, best effort.

    Attributes:
        waiting_clips: Clips on the card that the service has not stored yet.
        dropped_clips: Clips given up because the card was full, since boot.
        dropped_events: Events given up likewise; older agents do not tell.
    """

    boot: BootIdField
    at: Milliseconds
    clock_synced: bool
    uptime_s: Counter
    camera: CameraState
    waiting_events: Counter
    waiting_clips: Counter
    waiting_bytes: Counter
    dropped_clips: Counter
    dropped_events: Counter = 0
    disk_free_bytes: Counter


class Status(Body):
    """``status``: online on connecting; the last will says offline.

    An older (boot, connections) pair than one already seen is ignored.
    """

    boot: BootIdField
    connections: Counter
    online: bool


DELETED: Final = "deleted"
"""Why a clip is refused that its household, or its age, has deleted."""


class RefusedClip(BaseModel):
    """A clip the service will never take, and why."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    clip: ClipIdField
    reason: Annotated[str, Field(max_length=200)]


class Ack(Body):
    """``ack``: what the service has committed; only this lets a doorbell forget.

    Attributes:
        refused: Clips that are not taken; nobody signed that.
        receipts: Of objects that are stored, signed.
        deletions: Of clips that were deleted, signed: what a refusal as `DELETED` is proven by.
            Not sent when there are none, which older readers know.
    """

    events: Annotated[tuple[EventIdField, ...], Field(max_length=256)] = ()
    announced: Annotated[tuple[ClipIdField, ...], Field(max_length=256)] = ()
    refused: Annotated[tuple[RefusedClip, ...], Field(max_length=256)] = ()
    receipts: Annotated[tuple[Signed, ...], Field(max_length=256)] = ()
    deletions: Annotated[tuple[Signed, ...], Field(max_length=256)] = ()

    def encode(self) -> bytes:
        """Return the body as JSON bytes."""
        left_out = None if self.deletions else {"deletions"}
        return self.model_dump_json(exclude=left_out).encode()


class Answer(Body):
    """``ans/{name}``: a doorbell has heard a command.

    Attributes:
        counter: The command's.
        is_done: Whether it did it; an older command than its newest is not done again.
        reason: Why not; empty if it did.
    """

    counter: Counter
    is_done: bool
    reason: Annotated[str, Field(max_length=200)] = ""


class Statements(Body):
    """``statements``: those after the head named in ``hello``, oldest first."""

    statements: Annotated[tuple[Signed, ...], Field(max_length=64)]


B = TypeVar("B", bound=Body)


def decode_body(model: type[B], data: bytes, *, limit_bytes: int = MAX_JSON_BYTES) -> B:
    """Return the body in ``data``.

    Raises:
        BadMessageError: Too long, not JSON, or not a version 1 ``model``.
    """
    if len(data) > limit_bytes:
        raise BadMessageError(f"{len(data)} bytes are too many for one message")
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise BadMessageError(f"this is not a version 1 {model.__name__.lower()}") from error
