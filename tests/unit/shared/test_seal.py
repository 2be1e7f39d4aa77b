"""Sealing: what an envelope shows, what it refuses, and no nonce used twice."""

import base64
import hashlib
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorstep_shared.age_keys import Identity, MalformedKeyError, Recipient
from doorstep_shared.ids import Random
from doorstep_shared.seal import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    FileKey,
    GhostRecipientError,
    MalformedEnvelopeError,
    PayloadSealer,
    PayloadWriter,
    chunk_offset,
    parse_envelope,
    require_one_recipient_stanza,
    seal_bytes,
    seal_envelope,
    x25519_share,
)
from doorstep_shared.unseal import open_envelope, open_payload

NONCE = bytes(16)
KEY = FileKey(b"a file key's 16B")


def seeded(seed: str) -> Random:
    """Return a source that repeats itself for one seed."""
    calls = count()
    return lambda size: hashlib.shake_256(f"{seed} {next(calls)}".encode()).digest(size)


def draw_identity(name: str) -> Identity:
    return Identity.generate(seeded(name))


HOUSEHOLD = draw_identity("household")
STRANGER = draw_identity("stranger")


def envelope_for(recipients: Sequence[Identity]) -> bytes:
    return seal_envelope(KEY, [one.recipient() for one in recipients], seeded("envelope"))


def with_stanza(envelope: bytes, stanza: bytes) -> bytes:
    """Put a stanza before the MAC line, as somebody on the way could."""
    head, _, mac_line = envelope.rpartition(b"--- ")
    return head + stanza + b"--- " + mac_line


def test_an_envelope_for_one_recipient_has_one_stanza() -> None:
    envelope = envelope_for([HOUSEHOLD])
    stanza = require_one_recipient_stanza(parse_envelope(envelope))
    assert len(x25519_share(stanza)) == 32
    assert len(envelope) == 168
    assert open_envelope(envelope, [HOUSEHOLD]) == KEY


def test_an_envelope_shows_neither_key_nor_recipient() -> None:
    envelope = envelope_for([HOUSEHOLD])
    for secret in (KEY.secret, HOUSEHOLD.secret, HOUSEHOLD.recipient().public):
        assert secret not in envelope
        assert base64.b64encode(secret).rstrip(b"=") not in envelope


def test_a_ghost_recipient_is_refused() -> None:
    with pytest.raises(GhostRecipientError, match="X25519, X25519") as caught:
        require_one_recipient_stanza(parse_envelope(envelope_for([HOUSEHOLD, STRANGER])))
    assert caught.value.do


@pytest.mark.parametrize("grease", [b"-> 7-grease a b\n\n", b"-> scryptic\nAAAA\n"])
def test_grease_is_read_but_refused_where_only_ours_may_be(grease: bytes) -> None:
    facts = parse_envelope(with_stanza(envelope_for([HOUSEHOLD]), grease))
    assert facts.stanzas[0].kind == "X25519"
    with pytest.raises(GhostRecipientError):
        require_one_recipient_stanza(facts)


def test_a_single_stanza_of_another_kind_is_refused() -> None:
    envelope = b"age-encryption.org/v1\n-> ssh-ed25519 AAAA\n\n--- " + b"A" * 43 + b"\n"
    with pytest.raises(GhostRecipientError):
        require_one_recipient_stanza(parse_envelope(envelope))


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda e: e + b"\n", "after"),
        (lambda e: e + e, "after"),
        (lambda e: e[:-1], "cut short"),
        (lambda _: b"", "cut short"),
        (lambda e: e.replace(b"v1", b"v2"), "not an age v1"),
        (lambda e: e.replace(b"\n", b"\r\n"), "not an age v1"),
        (lambda e: b" " + e, "not an age v1"),
        (lambda e: e.replace(b"---", b"--"), "neither"),
        (lambda e: e.replace(b"->", b"-->"), "neither"),
        (lambda e: e.replace(b"-> X25519", b"-> X25519 "), "stray"),
        (lambda e: e.replace(b"-> X25519", b"-> \x7fX"), "stray"),
        (lambda e: with_stanza(e, b"-> \n\n"), "stray"),
        (lambda e: with_stanza(e, b"-> x\nA\n"), "not base64"),
        (lambda e: with_stanza(e, b"-> x\nAA==\n"), "another way"),
        (lambda e: with_stanza(e, b"-> x\nAB\n"), "another way"),
        (lambda e: with_stanza(e, b"-> x\nA_-A\n"), "not base64"),
        (lambda e: with_stanza(e, b"-> x\n" + b"A" * 68 + b"\n"), "too long"),
        (lambda e: with_stanza(e, b"-> x\n" + b"A" * 64 + b"\n"), "not base64"),
        (lambda e: with_stanza(e, b"-> scrypt a b\n\n"), "alone"),
        (lambda e: e[:-2] + b"\n", "base64|length"),
        (lambda e: e[:-5] + b"\n", "length|another"),
        (lambda _: b"age-encryption.org/v1\n--- " + b"A" * 43 + b"\n", "no recipient"),
    ],
)
def test_what_is_not_exactly_one_header_is_refused(change: object, fact: str) -> None:
    assert callable(change)
    with pytest.raises(MalformedEnvelopeError, match=fact):
        parse_envelope(change(envelope_for([HOUSEHOLD])))


def test_a_long_stanza_body_of_another_kind_is_read_over_its_lines() -> None:
    body = bytes(range(48)) * 2
    text = base64.b64encode(body)
    stanza = b"-> other\n" + text[:64] + b"\n" + text[64:] + b"\n\n"
    facts = parse_envelope(with_stanza(envelope_for([HOUSEHOLD]), stanza))
    assert facts.stanzas[1].body == body


@pytest.mark.parametrize(
    "stanza",
    [
        b"-> X25519\n" + b"A" * 43 + b"\n",
        b"-> X25519 " + b"A" * 43 + b" b\n" + b"A" * 43 + b"\n",
        b"-> X25519 " + b"A" * 42 + b"\n" + b"A" * 43 + b"\n",
        b"-> X25519 " + b"A" * 43 + b"\nAAAA\n",
    ],
)
def test_a_misshapen_x25519_stanza_is_refused(stanza: bytes) -> None:
    envelope = b"age-encryption.org/v1\n" + stanza + b"--- " + b"A" * 43 + b"\n"
    with pytest.raises(MalformedEnvelopeError):
        require_one_recipient_stanza(parse_envelope(envelope))
    with pytest.raises(MalformedEnvelopeError):
        open_envelope(envelope, [HOUSEHOLD])


def test_nothing_is_sealed_to_nobody() -> None:
    with pytest.raises(ValueError, match="needs a recipient"):
        seal_envelope(KEY, [], seeded("envelope"))


def test_nothing_is_sealed_to_a_key_that_everybody_can_open() -> None:
    with pytest.raises(MalformedKeyError):
        seal_envelope(KEY, [Recipient(bytes(32))], seeded("envelope"))


def test_two_boxes_have_nothing_in_common() -> None:
    random = seeded("two boxes")
    one = seal_bytes(b"same", HOUSEHOLD.recipient(), random)
    two = seal_bytes(b"same", HOUSEHOLD.recipient(), random)
    assert one.envelope.splitlines()[1:] != two.envelope.splitlines()[1:]
    assert one.payload[:16] != two.payload[:16]
    assert one.payload[16:] != two.payload[16:]


def test_the_file_key_shows_nothing_and_compares_by_value() -> None:
    assert repr(KEY) == "FileKey(…)"
    assert FileKey(KEY.secret) == KEY
    assert FileKey.draw(seeded("other")) != KEY
    assert KEY.secret != KEY
    with pytest.raises(TypeError):
        hash(KEY)
    with pytest.raises(ValueError, match="16 bytes"):
        FileKey(bytes(15))


def test_a_payload_nonce_has_its_length() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        PayloadSealer(KEY, bytes(12))


@pytest.mark.parametrize("final", [True, False])
def test_no_nonce_is_used_a_second_time(final: bool) -> None:  # noqa: FBT001  # a case, not a switch
    sealer = PayloadSealer(KEY, NONCE)
    sealer.seal_chunk(3, bytes(CHUNK_BYTES), final=final)
    for index in (3, 2):
        with pytest.raises(ValueError, match="sealed before"):
            sealer.seal_chunk(index, bytes(CHUNK_BYTES), final=final)
    # The flag is part of the nonce, so the same place may be sealed once each way.
    sealer.seal_chunk(3, bytes(CHUNK_BYTES), final=not final)


@pytest.mark.parametrize(
    ("index", "size", "final"),
    [
        (0, CHUNK_BYTES - 1, False),
        (0, CHUNK_BYTES + 1, False),
        (0, CHUNK_BYTES + 1, True),
        (1, 0, True),
        (0, 0, False),
    ],
)
def test_a_chunk_of_a_length_that_age_forbids_is_not_sealed(
    index: int,
    size: int,
    final: bool,  # noqa: FBT001  # a case, not a switch
) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        PayloadSealer(KEY, NONCE).seal_chunk(index, bytes(size), final=final)


@settings(deadline=None)
@given(
    sizes=st.lists(
        st.one_of(
            st.integers(0, 200),
            st.integers(CHUNK_BYTES - 2, CHUNK_BYTES + 2),
            st.integers(0, 3 * CHUNK_BYTES),
        ),
        max_size=6,
    )
)
def test_the_pieces_of_the_input_leave_no_trace_in_the_payload(sizes: list[int]) -> None:
    data = hashlib.shake_256(b"clip").digest(sum(sizes))
    writer = PayloadWriter(KEY, NONCE)
    payload = b""
    start = 0
    for size in sizes:
        payload += writer.write(data[start : start + size])
        start += size
    payload += writer.finish()
    whole = PayloadWriter(KEY, NONCE)
    assert payload == whole.write(data) + whole.finish()
    chunks = max(1, -(-len(data) // CHUNK_BYTES))
    assert len(payload) == 16 + len(data) + 16 * chunks
    assert open_payload(KEY, payload) == data


def test_a_chunk_is_found_by_its_number() -> None:
    data = b"".join(bytes([n]) * CHUNK_BYTES for n in range(3))
    writer = PayloadWriter(KEY, NONCE)
    payload = writer.write(data) + writer.finish()
    sealer = PayloadSealer(KEY, NONCE)
    for index in range(3):
        start = chunk_offset(index)
        assert start == 16 + 65552 * index
        chunk = sealer.seal_chunk(
            index, data[index * CHUNK_BYTES :][:CHUNK_BYTES], final=index == 2
        )
        assert payload[start : start + SEALED_CHUNK_BYTES] == chunk


def test_a_writer_that_has_finished_takes_no_more() -> None:
    writer = PayloadWriter(KEY, NONCE)
    writer.write(b"all")
    writer.finish()
    with pytest.raises(ValueError, match="finished"):
        writer.write(b"more")
    with pytest.raises(ValueError, match="finished"):
        writer.finish()
