import base64
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.claim import (
    MAX_PART_CHARS,
    Claim,
    DeviceKeys,
    WrongBindingError,
    fingerprint,
    join_parts,
    parse_claim,
)
from doorstep_shared.crc32c import crc32c
from doorstep_shared.errors import BadMessageError
from tests.people import FRONT_DOOR, random_from

CLAIM = Claim(
    secret=bytes(range(16)),
    ca_sha256=bytes([0xCA]) * 32,
    root=bytes([0x07]) * 32,
    url="https://doorstep.example:8443",
)
KEYS = DeviceKeys(
    device=FRONT_DOOR.device.id,
    tls_key=FRONT_DOOR.device.tls_key,
    manifest_key=FRONT_DOOR.device.manifest_key,
    age_recipient=FRONT_DOOR.device.age_recipient,
)
# The text on paper, for ever: a claim printed today is read by a doorbell of ten years on.
GOLDEN_TEXT = (
    "DS1.AAAQEAYEAUDAOCAJBIFQYDIOB7FMVSWKZLFMVSWKZLFMVSWKZLFMVSWKZLFMVSWKZLFMVSWKZLFMUBYHA4DQOBYH"
    "A4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHNB2HI4DTHIXS6ZDPN5ZHG5DFOAXGK6DBNVYGYZJ2HA2DIMZZC4MOW"
)
claims = st.builds(
    Claim,
    secret=st.binary(min_size=16, max_size=16),
    ca_sha256=st.binary(min_size=32, max_size=32),
    root=st.binary(min_size=32, max_size=32),
    url=st.text(min_size=1, max_size=50).filter(lambda t: t.isprintable()),
)


def test_the_text_and_the_derivations_of_version_1_stay() -> None:
    assert str(CLAIM) == GOLDEN_TEXT
    assert CLAIM.claim_id.hex() == "c53a7b3998ecb44032fac1e207757e77"
    assert (
        CLAIM.setup_key.hex() == "eaa1dc80cea63fc57caac8b2df4e0df2f49d48146413c11c8f4de6cd62d6690b"
    )
    assert (
        CLAIM.bind(KEYS).hex() == "68557d2b416c4bef8dfe72f472c3b60f611107dbe2e9d61fabdef79060b5e80e"
    )


@given(claims)
def test_a_claim_comes_back_from_its_text_and_from_its_codes(claim: Claim) -> None:
    assert parse_claim(str(claim)) == claim
    parts = claim.parts()
    assert all(len(part) <= MAX_PART_CHARS for part in parts)
    assert join_parts([*reversed(parts), parts[0]]) == claim


def test_line_breaks_spaces_and_case_do_not_matter() -> None:
    text = str(CLAIM).lower()
    assert parse_claim(f"  {text[:40]}\n {text[40:]}\n") == CLAIM


@given(st.integers(4, len(GOLDEN_TEXT) - 1), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_mistyped_letter_is_noticed(place: int, letter: str) -> None:
    mistyped = GOLDEN_TEXT[:place] + letter + GOLDEN_TEXT[place + 1 :]
    if mistyped != GOLDEN_TEXT:
        try:
            assert parse_claim(mistyped) == CLAIM  # padding bits that carry nothing
        except BadMessageError:
            return


@pytest.mark.parametrize(
    "text",
    ["", "hello", "DS1.", "DS1.A", "DS1.!!!!", "DS2." + GOLDEN_TEXT[4:], GOLDEN_TEXT[:-8]],
)
def test_what_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(BadMessageError):
        parse_claim(text)


def test_an_address_that_is_not_text_or_too_long_is_refused() -> None:
    long = Claim(bytes(16), bytes(32), bytes(32), "h" * 201)
    with pytest.raises(BadMessageError):
        parse_claim(str(long))
    data = bytes(80) + b"\xff"
    sealed = base64.b32encode(data + crc32c(data).to_bytes(4, "big")).decode().rstrip("=")
    with pytest.raises(BadMessageError, match="not text"):
        parse_claim(f"DS1.{sealed}")


@pytest.mark.parametrize(
    "change", [lambda p: p[:-1], lambda p: [*p[:-1], "DS1.x"], lambda _parts: []]
)
def test_missing_and_foreign_codes_are_refused(
    change: Callable[[list[str]], list[str]],
) -> None:
    with pytest.raises(BadMessageError):
        join_parts(change(list(CLAIM.parts())))


def test_codes_of_two_claims_are_not_mixed() -> None:
    other = Claim.draw(random_from("x"), ca_sha256=bytes(32), root=bytes(32), url=CLAIM.url)
    with pytest.raises(BadMessageError, match="two claims"):
        join_parts([*CLAIM.parts(), other.parts()[0]])
    with pytest.raises(BadMessageError):
        join_parts(["DS1.3.2.AAAA"])


def test_the_service_knows_the_id_and_cannot_make_the_binding() -> None:
    CLAIM.check_binding(KEYS, CLAIM.bind(KEYS))
    forged = Claim(bytes(16), CLAIM.ca_sha256, CLAIM.root, CLAIM.url).bind(KEYS)
    with pytest.raises(WrongBindingError):
        CLAIM.check_binding(KEYS, forged)


def test_a_claim_does_not_print_its_secret() -> None:
    assert str(CLAIM.secret) not in repr(CLAIM)


def test_a_ca_is_named_by_its_hash() -> None:
    assert fingerprint(b"der") == hashlib.sha256(b"der").digest()
