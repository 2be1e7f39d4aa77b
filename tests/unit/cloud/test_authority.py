"""Certificate requests from strangers: read, or refused, and nothing else."""

import base64
from contextlib import suppress
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.devices.authority import read_request
from doorstep_shared.errors import BadMessageError

BUILDER: Final = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
KEY: Final = ec.generate_private_key(ec.SECP256R1())
HONEST: Final = BUILDER.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
OTHERS: Final = (
    BUILDER.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()),
    BUILDER.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
    BUILDER.sign(ed25519.Ed25519PrivateKey.generate(), None),
)
REQUESTS: Final = (HONEST, *(request.public_bytes(Encoding.DER) for request in OTHERS))
VERSION: Final = bytes([0x02, 0x01, 0x00])
"""INTEGER 0 (RFC 2986 section 4.1): the only version there is."""


def pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def test_an_honest_request_gives_its_key() -> None:
    assert read_request(pem(HONEST)) == KEY.public_key()


@pytest.mark.parametrize("version", [b"\x01", b"\x7f", b"\xff"])
def test_a_request_of_another_version_is_refused(version: bytes) -> None:
    place = HONEST.index(VERSION) + 2
    with pytest.raises(BadMessageError):
        read_request(pem(HONEST[:place] + version + HONEST[place + 1 :]))


Cut = tuple[int, int, bytes]
cuts: st.SearchStrategy[Cut] = st.tuples(
    st.integers(min_value=0), st.integers(0, 3), st.binary(max_size=3)
)


@given(st.sampled_from(REQUESTS), st.lists(cuts, min_size=1, max_size=4))
def test_a_mangled_request_is_read_or_refused(request_der: bytes, mangled: list[Cut]) -> None:
    der = request_der
    for place, length, instead in mangled:
        start = place % (len(der) + 1)
        der = der[:start] + instead + der[start + length :]
    with suppress(BadMessageError):
        read_request(pem(der))


@given(st.text(max_size=200))
def test_text_that_is_no_request_is_refused(text: str) -> None:
    for request in (text, pem(b"").replace("\n-", f"\n{text}\n-")):
        with pytest.raises(BadMessageError):
            read_request(request)
