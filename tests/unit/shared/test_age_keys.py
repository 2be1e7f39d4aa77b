"""Keys in text: one spelling each, and a secret that does not slip out."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.age_keys import Identity, MalformedKeyError, Recipient, shared_secret

# From the age authors' test vectors, and what their age-keygen says is its recipient.
KNOWN_IDENTITY = "AGE-SECRET-KEY-1EGTZVFFV20835NWYV6270LXYVK2VKNX2MMDKWYKLMGR48UAWX40Q2P2LM0"
KNOWN_RECIPIENT = "age1xmwwc06ly3ee5rytxm9mflaz2u56jjj36s0mypdrwsvlul66mv4q47ryef"

LETTERS = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
KEYS = st.binary(min_size=32, max_size=32)


@given(key=KEYS)
def test_text_and_key_are_inverse(key: bytes) -> None:
    identity, recipient = Identity(key), Recipient(key)
    assert Identity.parse(str(identity)) == identity
    assert Recipient.parse(str(recipient)) == recipient
    assert re.fullmatch("AGE-SECRET-KEY-1[0-9A-Z]{58}", str(identity))
    assert re.fullmatch("age1[0-9a-z]{58}", str(recipient))


def test_a_known_identity_has_the_recipient_that_age_keygen_prints() -> None:
    identity = Identity.parse(KNOWN_IDENTITY)
    assert str(identity) == KNOWN_IDENTITY
    assert str(identity.recipient()) == KNOWN_RECIPIENT
    assert Recipient.parse(KNOWN_RECIPIENT) == identity.recipient()


@given(key=KEYS, place=st.integers(4, 61), letter=st.sampled_from(LETTERS))
def test_one_wrong_letter_is_noticed(key: bytes, place: int, letter: str) -> None:
    text = str(Recipient(key))
    wrong = text[:place] + letter + text[place + 1 :]
    if wrong != text:
        with pytest.raises(MalformedKeyError):
            Recipient.parse(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "age1",
        "1",
        KNOWN_RECIPIENT.upper(),
        KNOWN_RECIPIENT[:-1],
        KNOWN_RECIPIENT + "q",
        " " + KNOWN_RECIPIENT,
        KNOWN_RECIPIENT + "\n",
        KNOWN_RECIPIENT.replace("age1", "agf1"),
        KNOWN_RECIPIENT.replace("age1", "age"),
        KNOWN_RECIPIENT[:20] + "b" + KNOWN_RECIPIENT[21:],
        KNOWN_RECIPIENT[:20] + "é" + KNOWN_RECIPIENT[21:],
        KNOWN_IDENTITY,
    ],
)
def test_what_is_no_recipient_is_refused(text: str) -> None:
    with pytest.raises(MalformedKeyError):
        Recipient.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        KNOWN_IDENTITY.lower(),
        KNOWN_IDENTITY[:-1],
        KNOWN_IDENTITY.replace("KEY-1", "KEY-PQ-1"),
        KNOWN_IDENTITY.title(),
        KNOWN_RECIPIENT,
    ],
)
def test_what_is_no_identity_is_refused_and_never_repeated(text: str) -> None:
    with pytest.raises(MalformedKeyError) as caught:
        Identity.parse(text)
    assert text[20:40].lower() not in str(caught.value).lower()


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused_however_well_it_is_spelled(length: int) -> None:
    with pytest.raises(MalformedKeyError, match="32 bytes"):
        Recipient(bytes(length))
    with pytest.raises(MalformedKeyError, match="32 bytes"):
        Identity(bytes(length))


@pytest.mark.parametrize(
    # But for the first, the checksums hold.
    "text",
    [
        pytest.param("age1" + "q" * 53, id="wrong checksum"),
        pytest.param(
            "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzhlqeg", id="33 bytes"
        ),
        pytest.param(
            "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq6vg3z8",
            id="a spare letter",
        ),
        pytest.param(
            "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqpfwgqrs",
            id="spare bits that are not zero",
        ),
    ],
)
def test_spare_bits_in_a_key_are_refused(text: str) -> None:
    with pytest.raises(MalformedKeyError):
        Recipient.parse(text)


def test_an_identity_is_drawn_from_the_randomness_it_is_given() -> None:
    identity = Identity.generate(lambda size: bytes([7]) * size)
    assert identity.secret == bytes([7]) * 32


def test_the_repr_of_an_identity_tells_whose_it_is_and_not_the_secret() -> None:
    identity = Identity.parse(KNOWN_IDENTITY)
    for text in (repr(identity), f"{[identity]}"):
        assert KNOWN_RECIPIENT in text
        assert "SECRET" not in text
        assert repr(identity.secret) not in text
        assert identity.secret.hex() not in text


def test_keys_are_equal_by_value_and_never_to_another_kind() -> None:
    identity = Identity.parse(KNOWN_IDENTITY)
    recipient = identity.recipient()
    assert {identity, Identity.parse(KNOWN_IDENTITY)} == {identity}
    assert {recipient, Recipient.parse(KNOWN_RECIPIENT)} == {recipient}
    assert repr(recipient) == f"Recipient({KNOWN_RECIPIENT})"
    assert identity != Identity(bytes(32))
    assert recipient != Recipient(bytes(32))
    assert identity != Recipient(identity.secret)
    assert recipient != Identity(recipient.public)


def test_a_point_of_low_order_gives_no_secret() -> None:
    with pytest.raises(MalformedKeyError, match="everybody"):
        shared_secret(b"\1" * 32, bytes(32))
