"""Agencies: two different operators sign the same bytes, or there is none."""

import pytest
from pydantic import ValidationError

from doorstep_shared.agencies import (
    AgencyRecord,
    OneOperatorError,
    confirm_agency,
    read_agency,
    sign_agency,
    verify_agency,
    verify_proposal,
)
from doorstep_shared.errors import BadMessageError
from doorstep_shared.signing import Kind, Signed, SigningKey, WrongSignatureError, sign
from tests.people import random_from
from tests.questions import (
    AGENCY,
    AGENCY_KEY,
    OPERATOR,
    OPERATORS,
    OTHER_OPERATOR,
    SIGNED_AGENCY,
)

PROPOSED = sign_agency(AGENCY, OPERATOR)
STRANGER = SigningKey.generate(random_from("stranger"))


def test_two_operators_make_an_agency() -> None:
    assert verify_agency(SIGNED_AGENCY, OPERATORS) == AGENCY
    assert AGENCY.verify_key == AGENCY_KEY.public


def test_what_one_proposed_another_confirms() -> None:
    assert verify_proposal(PROPOSED, OPERATORS) == AGENCY
    assert confirm_agency(PROPOSED, OTHER_OPERATOR) == SIGNED_AGENCY


def test_one_operator_is_not_two() -> None:
    twice = Signed(body=PROPOSED.body, sigs=PROPOSED.sigs * 2)
    for signed in (PROPOSED, twice, sign_agency(AGENCY, OPERATOR, STRANGER)):
        with pytest.raises(OneOperatorError, match="two different operators"):
            verify_agency(signed, OPERATORS)
    with pytest.raises(OneOperatorError, match="two different operators"):
        confirm_agency(PROPOSED, OPERATOR)


def test_an_operator_named_twice_is_not_two() -> None:
    with pytest.raises(OneOperatorError):
        verify_agency(PROPOSED, (OPERATOR.public, OPERATOR.public))


def test_nobody_else_makes_or_proposes_an_agency() -> None:
    signed = sign_agency(AGENCY, STRANGER, AGENCY_KEY)
    for look in (verify_agency, verify_proposal):
        with pytest.raises(WrongSignatureError, match="nobody who may sign this agency"):
            look(signed, OPERATORS)


def test_a_changed_record_is_no_agency() -> None:
    other = AGENCY.model_copy(update={"sign_key": STRANGER.public.raw})
    forged = Signed(body=sign_agency(other, STRANGER).body, sigs=SIGNED_AGENCY.sigs)
    with pytest.raises(WrongSignatureError, match="does not fit"):
        verify_agency(forged, OPERATORS)


def test_a_signature_of_another_kind_makes_no_agency() -> None:
    signed = sign(Kind.REQUEST, AGENCY.model_dump(mode="json"), OPERATOR, OTHER_OPERATOR)
    with pytest.raises(WrongSignatureError):
        verify_agency(signed, OPERATORS)


def test_an_agency_of_another_form_is_refused() -> None:
    body = {**AGENCY.model_dump(mode="json"), "email": "x"}
    with pytest.raises(BadMessageError, match="not a version 1 agency"):
        read_agency(sign(Kind.AGENCY, body, OPERATOR, OTHER_OPERATOR))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", " "),
        ("name", " Police"),
        ("name", "x" * 101),
        ("name", "Police\nof Neustadt"),
        ("name", "Police\x1b[2J"),
        ("name", "\N{RIGHT-TO-LEFT OVERRIDE}eciloP"),
        ("contact", "x" * 201),
        ("agreement_url", "http://police.example/a.pdf"),
        ("agreement_url", "https://"),
        ("agreement_url", "https://desk@police.example/a.pdf"),
        ("agreement_url", "https://police.example/a b"),
        ("agreement_url", "https://police.example/a\n"),
        ("agreement_url", "https://police.example/" + "x" * 300),
        ("agreement_sha256", bytes(31)),
        ("sign_key", bytes(33)),
        ("agency", "A" * 26),
        ("kind", "army"),
        ("v", 2),
    ],
)
def test_a_record_says_nothing_that_cannot_be_shown_or_followed(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        AgencyRecord.model_validate({**AGENCY.model_dump(), field: value})
