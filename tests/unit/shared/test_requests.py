"""Requests: how much one may ask, and who asks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from doorstep_shared.agencies import AgencyRecord
from doorstep_shared.areas import WrongAreaError
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import AgencyId
from doorstep_shared.requests import (
    MAX_AGE_MS,
    MAX_OPEN_MS,
    MAX_WINDOW_MS,
    MIN_WINDOW_MS,
    VOLUNTARY,
    AssistanceRequest,
    WrongRequestError,
    check_request,
    sign_request,
    verify_request,
)
from doorstep_shared.signing import Kind, Signed, SigningKey, WrongSignatureError, sign
from tests.people import NOW_MS, random_from
from tests.questions import AGENCY, AGENCY_KEY, REQUEST

STRANGER = SigningKey.generate(random_from("stranger"))
SIGNED = sign_request(REQUEST, AGENCY_KEY)


def asking(**changes: object) -> AssistanceRequest:
    return AssistanceRequest.model_validate({**REQUEST.model_dump(), **changes})


def unchecked(request: AssistanceRequest) -> Signed:
    """Return ``request`` as an agency signs it that does not look first."""
    return sign(Kind.REQUEST, request.model_dump(mode="json"), AGENCY_KEY)


def test_a_request_begins_with_a_sentence_that_never_changes() -> None:
    assert VOLUNTARY == "Voluntary. You may ignore this. Nobody is told."


def test_a_request_is_the_agencys() -> None:
    assert verify_request(SIGNED, AGENCY) == REQUEST


WRONG = [
    ({"end": REQUEST.start + MIN_WINDOW_MS - 1}, "15 minutes to 12 hours"),
    ({"start": REQUEST.end + 1}, "15 minutes to 12 hours"),
    ({"start": REQUEST.end - MAX_WINDOW_MS - 1}, "15 minutes to 12 hours"),
    ({"at": REQUEST.end - 1}, "not for what is to come"),
    ({"at": REQUEST.start + MAX_AGE_MS + 1}, "the last 30 days"),
    ({"closes_at": REQUEST.at}, "open for at most 7 days"),
    ({"closes_at": REQUEST.at + MAX_OPEN_MS + 1}, "open for at most 7 days"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_a_request_asks_for_no_more_than_one_may(changes: dict[str, int], words: str) -> None:
    request = asking(**changes)
    with pytest.raises(WrongRequestError, match=words):
        sign_request(request, AGENCY_KEY)
    with pytest.raises(WrongRequestError, match=words):
        verify_request(unchecked(request), AGENCY)


@pytest.mark.parametrize(
    "changes",
    [
        {"end": REQUEST.start + MIN_WINDOW_MS},
        {"start": REQUEST.end - MAX_WINDOW_MS},
        {"at": REQUEST.end},
        {"at": REQUEST.start + MAX_AGE_MS, "closes_at": REQUEST.start + MAX_AGE_MS + 1},
        {"closes_at": REQUEST.at + 1},
        {"closes_at": REQUEST.at + MAX_OPEN_MS},
    ],
)
def test_a_request_may_go_to_each_limit(changes: dict[str, int]) -> None:
    request = asking(**changes)
    assert verify_request(sign_request(request, AGENCY_KEY), AGENCY) == request


def test_a_request_is_about_an_area() -> None:
    request = asking(cells=REQUEST.cells[:2])
    with pytest.raises(WrongAreaError, match="3 to 12 cells"):
        sign_request(request, AGENCY_KEY)
    with pytest.raises(WrongAreaError, match="3 to 12 cells"):
        verify_request(unchecked(request), AGENCY)


@given(*[st.integers(-40 * 24, 10 * 24).map(lambda h: NOW_MS + h * 3_600_000)] * 4)
def test_whatever_is_accepted_keeps_every_limit(
    start: int, end: int, at: int, closes_at: int
) -> None:
    request = asking(start=start, end=end, at=at, closes_at=closes_at)
    try:
        check_request(request)
    except WrongRequestError:
        return
    assert at - MAX_AGE_MS <= start < end <= at < closes_at <= at + MAX_OPEN_MS
    assert MIN_WINDOW_MS <= end - start <= MAX_WINDOW_MS


def test_another_agencys_request_is_refused() -> None:
    other = AGENCY.model_copy(update={"agency": AgencyId("b" * 26)})
    with pytest.raises(WrongRequestError, match="another agency's"):
        verify_request(SIGNED, other)


def test_a_request_that_another_key_signed_is_refused() -> None:
    with pytest.raises(WrongSignatureError, match="nobody who may sign this request"):
        verify_request(sign_request(REQUEST, STRANGER), AGENCY)
    changed: AgencyRecord = AGENCY.model_copy(update={"sign_key": STRANGER.public.raw})
    with pytest.raises(WrongSignatureError):
        verify_request(SIGNED, changed)


def test_a_request_that_was_changed_is_refused() -> None:
    other = asking(recipient=REQUEST.recipient, question="And your name, please?")
    with pytest.raises(WrongSignatureError, match="does not fit"):
        verify_request(Signed(body=unchecked(other).body, sigs=SIGNED.sigs), AGENCY)


def test_a_request_of_another_form_is_refused() -> None:
    body = {**REQUEST.model_dump(mode="json"), "suspect": "x"}
    with pytest.raises(BadMessageError, match="not a version 1 request"):
        verify_request(sign(Kind.REQUEST, body, AGENCY_KEY), AGENCY)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reference", ""),
        ("reference", "x" * 65),
        ("reference", "NB\n2026"),
        ("question", "\n"),
        ("question", "x" * 1001),
        ("question", "Did\x1b]0;you\x07 see?"),
        ("purpose", "protest"),
        ("cells", ["8a1f1d48d2dffff", "x", "y"]),
        ("recipient", "age1nobody"),
        ("request", "01a0c450-6c00-7000-8000-00000000000c"),
        ("start", -1),
    ],
)
def test_a_request_says_nothing_that_cannot_be_shown_or_used(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        asking(**{field: value})
