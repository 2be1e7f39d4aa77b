"""Secrets that are carried: their form, their checksum, what is kept of them."""

import secrets
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.households.codes import (
    INVITE,
    SESSION,
    TOKEN,
    draw_checked_code,
    draw_code,
    hash_code,
    is_well_formed,
)
from tests.people import random_from


@pytest.mark.parametrize("prefix", [INVITE, SESSION, TOKEN])
def test_a_code_is_its_prefix_and_32_base62_characters(prefix: str) -> None:
    code = draw_code(prefix, secrets.token_bytes)
    assert code.startswith(prefix)
    assert len(code) == len(prefix) + 32
    assert code.removeprefix(prefix).isalnum()
    assert is_well_formed(prefix, code, checked=False)


def test_a_token_ends_in_the_crc32_of_its_secret_in_six_characters() -> None:
    code = draw_checked_code(TOKEN, random_from("token"))
    secret, checksum = code.removeprefix(TOKEN)[:32], code[-6:]
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    value = 0
    for digit in checksum:
        value = value * 62 + alphabet.index(digit)
    assert value == zlib.crc32(secret.encode())


@given(st.integers(8, 45), st.sampled_from("0Aaz"))
def test_one_wrong_letter_is_told_from_a_code(place: int, letter: str) -> None:
    code = draw_checked_code(TOKEN, random_from("token"))
    changed = code[:place] + letter + code[place + 1 :]
    assert is_well_formed(TOKEN, changed, checked=True) is (changed == code)


@pytest.mark.parametrize("text", ["", "dst_pat_", "dst_pat_" + "é" * 38, "x" * 46])
def test_what_is_no_code_is_not_well_formed(text: str) -> None:
    assert not is_well_formed(TOKEN, text, checked=True)


def test_one_kind_of_code_is_not_another() -> None:
    code = draw_checked_code(INVITE, secrets.token_bytes)
    assert not is_well_formed(TOKEN, code, checked=True)
    assert not is_well_formed(INVITE, code, checked=False)


def test_two_codes_differ_and_so_do_their_hashes() -> None:
    codes = {draw_code(SESSION, secrets.token_bytes) for _ in range(100)}
    assert len({hash_code(code) for code in codes}) == 100
    assert all(len(hash_code(code)) == 32 for code in codes)
