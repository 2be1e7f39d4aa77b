import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.errors import BadMessageError
from doorstep_shared.signing import (
    Json,
    Kind,
    Signature,
    Signed,
    SigningKey,
    VerifyKey,
    WrongSignatureError,
    canonical,
    decode_signed,
    parse_canonical,
    sign,
    verify,
)
from tests.people import random_from

KEY = SigningKey.generate(random_from("a signer"))
OTHER = SigningKey.generate(random_from("another signer"))

bodies = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=6,
    ),
    max_size=4,
)


def encodable(body: Json) -> bool:
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(bodies.filter(encodable))
def test_a_body_comes_back_from_its_canonical_form(body: dict[str, Json]) -> None:
    assert parse_canonical(canonical(body)) == body


@given(bodies.filter(encodable))
def test_a_signed_container_comes_back_from_its_bytes(body: dict[str, Json]) -> None:
    signed = sign(Kind.STATEMENT, body, KEY)
    assert decode_signed(signed.encode()) == signed
    assert verify(Kind.STATEMENT, signed, [KEY.public, OTHER.public]) == {KEY.public.key_id}


def test_the_bytes_under_a_signature_are_the_documented_ones() -> None:
    signed = sign(Kind.MANIFEST, {"b": 1, "a": "ü"}, KEY)
    assert signed.body == '{"a":"ü","b":1}'.encode()
    KEY.public.check(Kind.MANIFEST, signed.body, signed.sigs[0].sig)
    assert signed.sigs[0].sig == KEY.sign_bytes(Kind.MANIFEST, signed.body)


def test_a_signature_over_one_kind_is_none_over_another() -> None:
    signed = sign(Kind.RECEIPT, {"a": 1}, KEY)
    with pytest.raises(WrongSignatureError):
        verify(Kind.MANIFEST, signed, [KEY.public])


def test_one_changed_byte_breaks_the_signature() -> None:
    signed = sign(Kind.RECEIPT, {"a": 1}, KEY)
    forged = signed.model_copy(update={"body": b'{"a":2}'})
    with pytest.raises(WrongSignatureError):
        verify(Kind.RECEIPT, forged, [KEY.public])


def test_a_stranger_s_signature_counts_for_nothing() -> None:
    with pytest.raises(WrongSignatureError):
        verify(Kind.RECEIPT, sign(Kind.RECEIPT, {"a": 1}, OTHER), [KEY.public])


def test_signatures_of_strangers_beside_a_good_one_are_passed_over() -> None:
    signed = sign(Kind.RECEIPT, {"a": 1}, OTHER, KEY)
    assert verify(Kind.RECEIPT, signed, [KEY.public]) == {KEY.public.key_id}


def test_a_false_signature_in_a_known_name_refuses_the_whole() -> None:
    good = sign(Kind.RECEIPT, {"a": 1}, OTHER)
    lie = Signature(key=KEY.public.key_id, sig=bytes(64))
    with pytest.raises(WrongSignatureError):
        verify(
            Kind.RECEIPT,
            good.model_copy(update={"sigs": (*good.sigs, lie)}),
            [KEY.public, OTHER.public],
        )


def test_a_key_that_is_no_point_verifies_nothing() -> None:
    with pytest.raises(WrongSignatureError):
        VerifyKey(b"short").check(Kind.RECEIPT, b"{}", bytes(64))


def test_a_signing_key_does_not_print_itself() -> None:
    assert KEY.seed.hex() not in repr(KEY)
    assert str(KEY.seed) not in repr(KEY)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"b":1,"a":2}',
        b'{ "a":1}',
        b'{"a":9007199254740993}',
        b'{"a":-0}',
        b'["a"]',
        b"7",
        b"",
        b"\xff",
        b'{"a":"\\u0061"}',
        b'{"a":' + b"[" * 12 + b"]" * 12 + b"}",
        b"[" * 100_000,
    ],
)
def test_another_spelling_is_refused(text: bytes) -> None:
    with pytest.raises(BadMessageError):
        parse_canonical(text)


def test_a_signed_body_in_another_spelling_is_refused_in_spite_of_its_signature() -> None:
    body = b'{ "a": 1 }'
    signature = Signature(key=KEY.public.key_id, sig=KEY.sign_bytes(Kind.RECEIPT, body))
    with pytest.raises(BadMessageError):
        verify(Kind.RECEIPT, Signed(body=body, sigs=(signature,)), [KEY.public])


@pytest.mark.parametrize("body", [{"a": 0.5}, {"a": [1.0]}, {"a": 2**53}, {"a": "\ud800"}])
def test_what_has_no_canonical_form_is_not_signed(body: dict[str, Json]) -> None:
    with pytest.raises(BadMessageError):
        sign(Kind.RECEIPT, body, KEY)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c | {"extra": 1},
        lambda c: c | {"sigs": []},
        lambda c: c | {"body": c["body"] + "="},
        lambda c: c | {"body": "?"},
        lambda c: c | {"body": 7},
        lambda c: c | {"body": c["body"][:-1] + "-"},
        lambda c: c | {"sigs": [{"key": c["sigs"][0]["key"][:-2], "sig": c["sigs"][0]["sig"]}]},
        lambda c: c | {"sigs": c["sigs"] * 17},
        lambda c: c | {"sigs": [{"key": c["sigs"][0]["key"], "sig": "AA"}]},
    ],
)
def test_a_misshapen_container_is_refused(change: Callable[[Any], Any]) -> None:
    container = json.loads(sign(Kind.RECEIPT, {"a": 12}, KEY).encode())
    with pytest.raises(BadMessageError):
        decode_signed(json.dumps(change(container)).encode())
