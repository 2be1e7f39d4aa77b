"""Assistance requests: an agency's public, voluntary question about a place and a time.

The whole text is signed by the agency, in the hands of its custodian, together
with the recipient that a clip would be sealed to: a key for this request alone.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from doorstep_shared.agencies import AgencyRecord
from doorstep_shared.areas import CELL_PATTERN, check_area
from doorstep_shared.errors import RefusedError
from doorstep_shared.fields import (
    AgencyIdField,
    LineText,
    Milliseconds,
    RecipientText,
    RequestIdField,
    WrittenText,
)
from doorstep_shared.signing import (
    Kind,
    Signed,
    SigningKey,
    parse_canonical,
    read_body,
    sign,
    verify,
)

VOLUNTARY: Final = "Voluntary. You may ignore this. Nobody is told."
"""How every request begins, wherever it is shown."""

_MINUTE_MS: Final = 60 * 1000
_DAY_MS: Final = 24 * 60 * _MINUTE_MS

MIN_WINDOW_MS: Final = 15 * _MINUTE_MS
MAX_WINDOW_MS: Final = 12 * 60 * _MINUTE_MS
MAX_AGE_MS: Final = 30 * _DAY_MS
MAX_OPEN_MS: Final = 7 * _DAY_MS
MAX_REFERENCE_CHARS: Final = 64
MAX_QUESTION_CHARS: Final = 1000


class WrongRequestError(RefusedError):
    """A request asks for more than one may, or is not the agency's it names."""


class Purpose(StrEnum):
    """What a question is about."""

    MISSING_PERSON = "missing_person"
    BURGLARY = "burglary"
    THEFT = "theft"
    VIOLENCE = "violence"
    COLLISION = "collision"
    FIRE = "fire"
    OTHER = "other"


class AssistanceRequest(BaseModel):
    """The body of a request.

    Attributes:
        reference: The agency's own name for the case.
        question: Its words, shown as they are.
        start: From when on clips are asked for, Unix milliseconds.
        end: Until when.
        cells: The area, as `doorstep_shared.areas.check_area` wants it.
        recipient: What a clip for this request is sealed to, and nothing else is.
        at: When it was signed.
        closes_at: From when on it is answered no more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    request: RequestIdField
    agency: AgencyIdField
    reference: Annotated[LineText, Field(max_length=MAX_REFERENCE_CHARS)]
    purpose: Purpose
    question: Annotated[WrittenText, Field(max_length=MAX_QUESTION_CHARS)]
    start: Milliseconds
    end: Milliseconds
    cells: tuple[Annotated[str, Field(pattern=CELL_PATTERN)], ...]
    recipient: RecipientText
    at: Milliseconds
    closes_at: Milliseconds


def check_request(request: AssistanceRequest) -> AssistanceRequest:
    """Return ``request`` if a request may ask for this.

    Raises:
        WrongRequestError: Its window is too short, too long, too old or not over, or it
            stays open too long or not at all.
        WrongAreaError: Its cells are no area.
    """
    if not MIN_WINDOW_MS <= request.end - request.start <= MAX_WINDOW_MS:
        raise WrongRequestError("a request asks for 15 minutes to 12 hours")
    if request.end > request.at:
        raise WrongRequestError("a request asks for what was, not for what is to come")
    if request.start < request.at - MAX_AGE_MS:
        raise WrongRequestError("a request asks for no more than the last 30 days")
    if not request.at < request.closes_at <= request.at + MAX_OPEN_MS:
        raise WrongRequestError("a request is open for at most 7 days")
    check_area(request.cells)
    return request


def sign_request(request: AssistanceRequest, key: SigningKey) -> Signed:
    """Return ``request`` signed with the agency's ``key``.

    Raises:
        WrongRequestError, WrongAreaError: As `check_request`.
    """
    return sign(Kind.REQUEST, check_request(request).model_dump(mode="json"), key)


def read_request(signed: Signed) -> AssistanceRequest:
    """Return the request in ``signed`` without asking who signed it.

    Raises:
        BadMessageError: It is not a version 1 request.
    """
    parse_canonical(signed.body)
    return read_body(Kind.REQUEST, signed.body, AssistanceRequest)


def verify_request(signed: Signed, agency: AgencyRecord) -> AssistanceRequest:
    """Return the request in ``signed``, which is the ``agency``'s and asks for what one may.

    Args:
        signed: From anybody.
        agency: As `doorstep_shared.agencies.verify_agency` returned it.

    Raises:
        WrongRequestError: Another agency's, or as `check_request`.
        WrongAreaError: As `check_request`.
        WrongSignatureError: The agency did not sign it.
        BadMessageError: It is not a version 1 request.
    """
    request = read_request(signed)
    if request.agency != agency.agency:
        raise WrongRequestError("this request is another agency's")
    verify(Kind.REQUEST, signed, (agency.verify_key,))
    return check_request(request)
