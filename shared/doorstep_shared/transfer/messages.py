"""The two JSON bodies of a transfer, ``init`` and ``fr``, and their limits.

Names follow EMQX's file transfer over MQTT (EIP-0021) where they can; no
compatibility is claimed. Both bodies are unsigned: unknown fields are passed
over, known ones are checked strictly.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from doorstep_shared.errors import BadMessageError
from doorstep_shared.fields import ClipIdField
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import MAX_PAYLOAD_BYTES, ObjectName
from doorstep_shared.transfer.ranges import NOTHING, Ranges

# CPU per byte falls up to 128 KiB and hardly after it; below 32 KiB most of it is overhead.
CHUNK_BYTES: Final = 128 * 1024
MIN_CHUNK_BYTES: Final = 32 * 1024
MAX_WINDOW: Final = 16
MAX_RETRY_AFTER_MS: Final = 3_600_000
# Alternate segments of the smallest chunk: no object can be held in more pieces.
MAX_SPANS: Final = MAX_PAYLOAD_BYTES // MIN_CHUNK_BYTES // 2
MAX_INIT_BYTES: Final = 1024
MAX_REPLY_BYTES: Final = 64 * 1024


class Code(IntEnum):
    """What the receiver says; the values are EMQX's and MQTT's reason codes."""

    OK = 0x00
    MISSING = 0x10
    AGAIN = 0x80
    NEVER = 0x83
    NOT_ALLOWED = 0x87
    PAUSE = 0x97
    MALFORMED = 0x99


class Subject(StrEnum):
    """Which message a reply answers."""

    INIT = "init"
    OFFSET = "offset"
    FIN = "fin"
    ABORT = "abort"


class Reason(StrEnum):
    """Why, for logs and, for `CLIP_UNKNOWN` and `DELETED`, for the sender.

    A reader takes any other text.
    """

    NONE = ""
    CLIP_UNKNOWN = "clip_unknown"
    BUSY = "busy"
    SPOOL_FULL = "spool_full"
    INIT_FIRST = "init_first"
    INCOMPLETE = "incomplete"
    OVER_CREDIT = "over_credit"
    BAD_OFFSET = "bad_offset"
    BAD_LENGTH = "bad_length"
    HASH_MISMATCH = "hash_mismatch"
    STORE_FAILED = "store_failed"
    STORING = "storing"
    QUARANTINED = "quarantined"
    CONFLICT = "conflict"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Init:
    """``init``: begin or resume; the segment size the sender would like, in bytes."""

    chunk: int = CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class Reply:
    """``fr``: an answer, and what the receiver holds and can take.

    Attributes:
        offset: The segment answered; None unless `subject` is `OFFSET`.
        have: Every range the receiver holds.
        credit: Segments it can take at once, 0 to 16; 0 means none before another reply.
        chunk: Granted segment size, bytes.
        retry_after_ms: How long to wait before the next message; 0 leaves it to the sender.
    """

    clip: ClipId
    object: ObjectName
    subject: Subject
    code: Code
    offset: int | None = None
    reason: str = Reason.NONE
    have: Ranges = NOTHING
    credit: int = 0
    chunk: int = CHUNK_BYTES
    retry_after_ms: int = 0

    @property
    def upto(self) -> int:
        """Return the end of what the receiver holds without a gap from byte 0."""
        return self.have.upto


_Chunk = Annotated[int, Field(ge=MIN_CHUNK_BYTES, le=CHUNK_BYTES, multiple_of=MIN_CHUNK_BYTES)]
# As many digits as a topic carries: a refusal names the offset it refuses.
_Offset = Annotated[int, Field(ge=0, le=99_999_999)]
_End = Annotated[int, Field(ge=0, le=MAX_PAYLOAD_BYTES)]


class _InitBody(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    v: Literal[1] = 1
    chunk: _Chunk


class _ReplyBody(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    v: Literal[1] = 1
    clip: ClipIdField
    object: ObjectName
    re: Subject
    offset: _Offset | None = None
    code: Code
    reason: Annotated[str, Field(pattern="^[a-z0-9_]{0,40}$")] = ""
    have: Annotated[tuple[tuple[_End, _End], ...], Field(max_length=MAX_SPANS)] = ()
    upto: _End = 0
    credit: Annotated[int, Field(ge=0, le=MAX_WINDOW)] = 0
    chunk: _Chunk = CHUNK_BYTES
    retry_after_ms: Annotated[int, Field(ge=0, le=MAX_RETRY_AFTER_MS)] = 0

    def to_model(self) -> Reply:
        if (self.offset is None) == (self.re is Subject.OFFSET):
            raise BadMessageError("a reply names an offset if, and only if, it is about a segment")
        return Reply(
            clip=self.clip,
            object=self.object,
            subject=self.re,
            code=self.code,
            offset=self.offset,
            reason=self.reason,
            have=Ranges.of(((0, self.upto), *self.have)),
            credit=self.credit,
            chunk=self.chunk,
            retry_after_ms=self.retry_after_ms,
        )


def encode_init(init: Init) -> bytes:
    """Return the body of ``…/init``."""
    return _InitBody(chunk=init.chunk).model_dump_json().encode()


def decode_init(body: bytes) -> Init:
    """Return the ``init`` in ``body``.

    Raises:
        BadMessageError: Too long, not JSON, or a field missing or out of bounds.
    """
    if len(body) > MAX_INIT_BYTES:
        raise BadMessageError(f"an init of {len(body)} bytes is too long")
    try:
        return Init(_InitBody.model_validate_json(body).chunk)
    except ValidationError as error:
        raise BadMessageError("this is no init of a transfer") from error


def encode_reply(reply: Reply) -> bytes:
    """Return the body of ``fr``."""
    body = _ReplyBody(
        clip=reply.clip,
        object=reply.object,
        re=reply.subject,
        offset=reply.offset,
        code=reply.code,
        reason=reply.reason,
        have=reply.have.spans,
        upto=reply.upto,
        credit=reply.credit,
        chunk=reply.chunk,
        retry_after_ms=reply.retry_after_ms,
    )
    return body.model_dump_json().encode()


def decode_reply(body: bytes) -> Reply:
    """Return the reply in ``body``.

    Raises:
        BadMessageError: Too long, not JSON, or a field missing or out of bounds.
    """
    if len(body) > MAX_REPLY_BYTES:
        raise BadMessageError(f"a reply of {len(body)} bytes is too long")
    try:
        parsed = _ReplyBody.model_validate_json(body)
    except ValidationError as error:
        raise BadMessageError("this is no reply of a transfer") from error
    return parsed.to_model()
