"""The age community's own test vectors: what must open, and what must not."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from doorstep_shared.age_keys import Identity, MalformedKeyError
from doorstep_shared.errors import BadMessageError, DoorstepError
from doorstep_shared.seal import MalformedEnvelopeError, parse_header
from doorstep_shared.unseal import (
    NotOurEnvelopeError,
    TamperedEnvelopeError,
    TamperedPayloadError,
    TruncatedPayloadError,
    open_age_file,
    open_envelope,
    open_stream,
)

FOLDER = Path(__file__).parents[2] / "golden" / "age" / "cctv"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.suffix != ".md")

FAMILIES: dict[str, tuple[type[DoorstepError], ...]] = {
    "header failure": (MalformedEnvelopeError,),
    "HMAC failure": (TamperedEnvelopeError,),
    "no match": (NotOurEnvelopeError,),
    "payload failure": (TamperedPayloadError, TruncatedPayloadError),
}

# The age authors count the payload's nonce as part of the header. Ours is kept with the
# payload, so for us these two are payloads that end too soon.
CUT_IN_THE_NONCE = {"stream_no_nonce", "stream_short_nonce"}


@dataclass(frozen=True, slots=True)
class Vector:
    expect: str
    payload: str
    identities: list[Identity]
    data: bytes


def read_vector(name: str) -> Vector:
    head, _, data = (FOLDER / name).read_bytes().partition(b"\n\n")
    fields = [line.partition(": ")[::2] for line in head.decode().splitlines()]
    values = dict(fields)
    identities = [
        Identity.parse(value)
        for key, value in fields
        if key == "identity" and value.startswith("AGE-SECRET-KEY-1")
    ]
    if values.get("compressed") == "zlib":
        data = zlib.decompress(data)
    return Vector(values["expect"], values.get("payload", ""), identities, data)


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_ends_as_the_age_authors_say(name: str) -> None:
    vector = read_vector(name)
    if vector.expect == "success":
        plaintext = open_age_file(vector.data, vector.identities)
        assert hashlib.sha256(plaintext).hexdigest() == vector.payload
        return
    expected = (TruncatedPayloadError,) if name in CUT_IN_THE_NONCE else FAMILIES[vector.expect]
    with pytest.raises(expected):
        open_age_file(vector.data, vector.identities)


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("stream_")])
def test_a_damaged_payload_gives_out_its_true_beginning_and_no_more(name: str) -> None:
    vector = read_vector(name)
    _, length = parse_header(vector.data)
    file_key = open_envelope(vector.data[:length], vector.identities)
    expected = vector.payload or hashlib.sha256().hexdigest()
    given = hashlib.sha256()
    try:
        for plaintext in open_stream(file_key, [vector.data[length:]]):
            given.update(plaintext)
    except BadMessageError:
        assert vector.expect != "success"
    else:
        assert vector.expect == "success"
    assert given.hexdigest() == expected


def test_the_vectors_hold_every_way_to_fail() -> None:
    expectations = {read_vector(name).expect for name in NAMES}
    assert expectations == {"success", *FAMILIES}


def test_a_post_quantum_identity_is_not_taken_for_an_x25519_one() -> None:
    with pytest.raises(MalformedKeyError):
        Identity.parse("AGE-SECRET-KEY-PQ-1" + "Q" * 58)
