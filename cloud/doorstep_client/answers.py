"""What the service may answer: one model for each route, every text and list of it bounded.

Nothing is believed by being of the right shape; what is of another shape is
refused here, before anybody looks into it. Unknown fields are passed over, so
that an old client understands a newer service.
"""

from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from doorstep_client.errors import OddAnswerError
from doorstep_shared.encoding import Base64Bytes, Base64Bytes32
from doorstep_shared.fields import Counter, DeviceIdField, RecipientText
from doorstep_shared.signing import Signed

M = TypeVar("M", bound=BaseModel)

# Longer than any of ours, and short enough to be read.
MAX_PROBLEM_CHARS: Final = 400


def read_answer(model: type[M], data: bytes, asked: str) -> M:
    """Return the ``model`` spelled by ``data``, exactly: no text is taken for a number.

    The reader stops at 200 levels of nesting by itself (jiter's limit).

    Args:
        model: What is expected.
        data: JSON; its length is bounded by whoever read it.
        asked: The request, for the person who reads the error.

    Raises:
        OddAnswerError: It is something else.
    """
    try:
        return model.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise OddAnswerError(f"the service's answer to {asked} is not one") from error


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("this moment lies outside the calendar") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())[:MAX_PROBLEM_CHARS]


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A moment in UTC; it may still lie outside the calendar of this computer's zone."""

Word = Annotated[str, StringConstraints(max_length=64)]
"""A short text whose values the service may add to: a state, a scope, a version."""

Code = Annotated[str, StringConstraints(pattern="^[!-~]{1,256}$")]
"""A secret that is sent back in a header: printable ASCII, no spaces."""

_Line = Annotated[str, AfterValidator(_one_line)]


class Answer(BaseModel):
    """An answer of which nothing is needed but that it is an object."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Problem(Answer):
    """Why the service said no (RFC 9457), each text on one line of its own."""

    title: _Line = ""
    detail: _Line = ""
    do: _Line = ""


class Challenge(Answer):
    """What is to be signed in order to sign in."""

    server_nonce: Base64Bytes32


class Session(Answer):
    """A session that has begun."""

    token: Code


class StatementList(Answer):
    """Some statements, oldest first; nothing in them is verified."""

    statements: tuple[Signed, ...]


class PolicyList(Answer):
    """Some versions of the consent policy, oldest first; nothing in them is verified."""

    policies: tuple[Signed, ...]


class Place(Answer):
    """Where a statement stands in the service's history; ``sha256`` is of its body."""

    seq: Counter
    sha256: Base64Bytes32


class HouseholdPlace(Answer):
    """How far the service's history of the household goes."""

    head: Place


class ClaimPlace(Answer):
    """A claim the service knows of."""

    ca_sha256: Base64Bytes32


class AnsweringDevice(Answer):
    """The keys of a doorbell that answered a claim; ``mac`` vouches for them, or not."""

    id: DeviceIdField
    tls_key: Annotated[Base64Bytes, Field(min_length=64, max_length=256)]
    manifest_key: Base64Bytes32
    age_recipient: RecipientText
    mac: Base64Bytes32


class ClaimState(Answer):
    """Whether a doorbell answered a claim."""

    device: AnsweringDevice | None


class DeviceHealth(Answer):
    """What a doorbell last said of itself."""

    at: Moment
    clock_synced: bool
    uptime_s: Counter
    camera: Word
    waiting_events: Counter
    waiting_clips: Counter
    waiting_bytes: Counter
    dropped_clips: Counter
    dropped_events: Counter
    disk_free_bytes: Counter


class DeviceItem(Answer):
    """A doorbell, as the service tells it."""

    id: DeviceIdField
    state: Word
    is_online: bool
    last_heard_at: Moment | None
    agent: Word | None
    enrolled_at: Moment
    health: DeviceHealth | None


class DeviceList(Answer):
    """The household's doorbells."""

    items: tuple[DeviceItem, ...]


class CommandPlace(Answer):
    """A command the service has taken."""

    counter: Counter
    expires_at: Moment


class CommandItem(Answer):
    """A command to a doorbell, as the service tells it; what it says of its end nobody signed.

    Attributes:
        clips: How many it names; None when it means all until a time.
    """

    counter: Counter
    name: Word
    clips: Counter | None
    until: Moment | None
    received_at: Moment
    expires_at: Moment
    state: Word
    reason: _Line | None


class CommandList(Answer):
    """A doorbell's newest commands, newest first, and the counter that its next one needs."""

    items: Annotated[tuple[CommandItem, ...], Field(max_length=256)]
    next_counter: Counter


class TokenItem(Answer):
    """A token without its code."""

    id: Word
    name: Word
    scopes: Annotated[tuple[Word, ...], Field(max_length=64)]
    created_at: Moment
    expires_at: Moment


class NewToken(TokenItem):
    """A token with its code."""

    token: Code


class TokenList(Answer):
    """This person's tokens."""

    items: tuple[TokenItem, ...]
