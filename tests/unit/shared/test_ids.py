import base64
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from doorstep_shared import ids
from doorstep_shared.encoding import from_base64url, to_base64url
from doorstep_shared.errors import BadMessageError, TryLaterError
from doorstep_shared.fields import (
    AgencyIdField,
    ClipIdField,
    DeviceIdField,
    EventIdField,
    HouseholdIdField,
    MemberIdField,
    OfficerIdField,
    OperatorIdField,
    ReleaseIdField,
    RequestIdField,
)
from tests.people import random_from


def field(kind: type) -> Callable[[str], str]:
    """Return what reads a field of ``kind`` out of a message."""
    return TypeAdapter[str](kind).validate_python


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_clip_id_is_a_uuid_of_version_7_that_tells_its_millisecond(ms: int, noise: bytes) -> None:
    clip = ids.draw_clip_id(ms, lambda _count: noise)
    assert uuid.UUID(clip).variant == uuid.RFC_4122
    assert uuid.UUID(clip).version == 7
    assert int(clip.replace("-", "")[:12], 16) == ms
    assert ids.parse_clip_id(clip) == clip
    assert ids.draw_event_id(ms, lambda _count: noise) == str(clip)


def test_clips_sort_by_the_moment_they_were_made() -> None:
    random = random_from("clips")
    made = [ids.draw_clip_id(ms, random) for ms in (1, 2, 70_000, 1_790_000_000_000)]
    assert sorted(made) == made


def test_a_device_draws_its_shard_too() -> None:
    device = ids.draw_device_id(random_from("device"))
    assert ids.shard_of(device) == device[:2]
    assert ids.parse_device_id(device) == device


def test_household_and_member_ids_carry_128_random_bits() -> None:
    random = random_from("people")
    household, member = ids.draw_household_id(random), ids.draw_member_id(random)
    assert len(household) == len(member) == 26
    assert field(HouseholdIdField)(household) == household
    assert field(MemberIdField)(member) == member


DRAWN = [
    (ids.draw_agency_id, ids.parse_agency_id, AgencyIdField),
    (ids.draw_officer_id, ids.parse_officer_id, OfficerIdField),
    (ids.draw_operator_id, ids.parse_operator_id, OperatorIdField),
    (ids.draw_request_id, ids.parse_request_id, RequestIdField),
    (ids.draw_release_id, ids.parse_release_id, ReleaseIdField),
]


@pytest.mark.parametrize(("draw", "parse", "form"), DRAWN)
def test_an_id_that_outsiders_see_is_all_random(
    draw: Callable[[ids.Random], str], parse: Callable[[str], str], form: type
) -> None:
    drawn = draw(lambda count: b"\xff" * count)
    assert drawn == base64.b32encode(b"\xff" * 16).decode().rstrip("=").lower()
    assert parse(drawn) == field(form)(drawn) == drawn


@pytest.mark.parametrize(
    "parse",
    [
        ids.parse_clip_id,
        ids.parse_device_id,
        field(ClipIdField),
        field(EventIdField),
        field(DeviceIdField),
        field(HouseholdIdField),
        field(MemberIdField),
        *(parse for _, parse, _ in DRAWN),
        *(field(form) for _, _, form in DRAWN),
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "../../etc/passwd",
        "A" * 26,
        "00000000-0000-4000-8000-000000000000",
        "a" * 26 + "\n",
    ],
)
def test_what_is_no_id_is_refused(parse: Callable[[str], str], text: str) -> None:
    with pytest.raises((BadMessageError, ValidationError)):
        parse(text)


@given(st.binary(max_size=70))
def test_bytes_come_back_from_base64url(data: bytes) -> None:
    assert from_base64url(to_base64url(data)) == data


@pytest.mark.parametrize("text", ["A", "AA==", "AB", "A+==", "AA\n", "ü"])
def test_another_spelling_of_bytes_is_refused(text: str) -> None:
    with pytest.raises(BadMessageError):
        from_base64url(text)


def test_an_error_says_the_fact_what_is_safe_and_what_to_do() -> None:
    error = TryLaterError("no broker", safe="2 clips wait", do="wait", after_s=3)
    assert (str(error), error.safe, error.do, error.after_s) == (
        "no broker",
        "2 clips wait",
        "wait",
        3,
    )
