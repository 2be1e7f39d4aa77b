"""Opening: only with the right key, only the whole truth, only in order."""

import hashlib
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorstep_shared.age_keys import Identity, MalformedKeyError
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import Random
from doorstep_shared.seal import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    FileKey,
    MalformedEnvelopeError,
    PayloadWriter,
    chunk_offset,
    seal_bytes,
    seal_envelope,
)
from doorstep_shared.unseal import (
    NotOurEnvelopeError,
    PayloadReader,
    TamperedEnvelopeError,
    TamperedPayloadError,
    TruncatedPayloadError,
    open_age_file,
    open_envelope,
    open_payload,
    open_range,
    open_stream,
    parse_identity_file,
    rewrap_envelope,
)

NONCE = bytes(range(16))
KEY = FileKey(b"a file key's 16B")


def seeded(seed: str) -> Random:
    """Return a source that repeats itself for one seed."""
    calls = count()
    return lambda size: hashlib.shake_256(f"{seed} {next(calls)}".encode()).digest(size)


HOUSEHOLD = Identity.generate(seeded("household"))
AGENCY = Identity.generate(seeded("agency"))
STRANGER = Identity.generate(seeded("stranger"))


def sealed(data: bytes) -> bytes:
    writer = PayloadWriter(KEY, NONCE)
    return writer.write(data) + writer.finish()


def clip(size: int) -> bytes:
    return hashlib.shake_256(b"clip").digest(size)


def test_a_box_opens_for_its_recipient_only() -> None:
    box = seal_bytes(b"a visitor", HOUSEHOLD.recipient(), seeded("box"))
    assert open_age_file(box.envelope + box.payload, [STRANGER, HOUSEHOLD]) == b"a visitor"
    for identities in ([], [STRANGER]):
        with pytest.raises(NotOurEnvelopeError) as caught:
            open_envelope(box.envelope, identities)
        assert caught.value.do


def test_a_wrapped_again_key_opens_the_same_payload_for_somebody_else() -> None:
    box = seal_bytes(b"a visitor", HOUSEHOLD.recipient(), seeded("box"))
    file_key = open_envelope(box.envelope, [HOUSEHOLD])
    envelope = rewrap_envelope(file_key, [AGENCY.recipient()], seeded("release"))
    assert open_age_file(envelope + box.payload, [AGENCY]) == b"a visitor"
    with pytest.raises(NotOurEnvelopeError):
        open_envelope(envelope, [HOUSEHOLD])


def test_an_envelope_with_something_added_is_refused_by_those_it_is_for() -> None:
    envelope = seal_envelope(KEY, [HOUSEHOLD.recipient()], seeded("envelope"))
    head, _, mac_line = envelope.rpartition(b"--- ")
    with pytest.raises(TamperedEnvelopeError):
        open_envelope(head + b"-> note\n\n--- " + mac_line, [HOUSEHOLD])


@given(place=st.integers(0, 167), flip=st.integers(1, 255))
def test_no_byte_of_an_envelope_can_be_changed(place: int, flip: int) -> None:
    envelope = bytearray(seal_envelope(KEY, [HOUSEHOLD.recipient()], seeded("envelope")))
    envelope[place] ^= flip
    with pytest.raises((MalformedEnvelopeError, NotOurEnvelopeError, TamperedEnvelopeError)):
        open_envelope(bytes(envelope), [HOUSEHOLD])


def read_until_error(payload: bytes) -> tuple[bytes, BadMessageError | None]:
    given_out = b""
    try:
        for plaintext in open_stream(KEY, [payload]):
            given_out += plaintext
    except BadMessageError as error:
        return given_out, error
    return given_out, None


SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [1000, 65536, 65552, 131104, 10**6])
def test_the_pieces_a_payload_comes_in_do_not_matter(size: int, step: int) -> None:
    payload = sealed(clip(size))
    pieces = [payload[start : start + step] for start in range(0, len(payload), step)]
    assert b"".join(open_stream(KEY, pieces)) == clip(size)


def test_a_payload_may_come_byte_by_byte() -> None:
    payload = sealed(b"short")
    assert b"".join(open_stream(KEY, [bytes([byte]) for byte in payload])) == b"short"


@settings(deadline=None)
@given(size=st.sampled_from(SIZES), data=st.data())
def test_a_payload_cut_anywhere_says_so_and_gives_only_its_beginning(
    size: int, data: st.DataObject
) -> None:
    payload = sealed(clip(size))
    cut = data.draw(st.integers(0, len(payload) - 1))
    given_out, error = read_until_error(payload[:cut])
    assert isinstance(error, TruncatedPayloadError | TamperedPayloadError)
    assert clip(size).startswith(given_out)
    assert len(given_out) == max(0, cut - 16) // SEALED_CHUNK_BYTES * CHUNK_BYTES


@pytest.mark.parametrize("cut", [0, 15, 16, 31, 16 + SEALED_CHUNK_BYTES, 16 + 65552 + 15])
def test_a_cut_between_chunks_or_within_a_tag_is_told_from_a_forgery(cut: int) -> None:
    with pytest.raises(TruncatedPayloadError) as caught:
        open_payload(KEY, sealed(clip(200_000))[:cut])
    assert caught.value.do


@settings(deadline=None)
@given(size=st.sampled_from(SIZES), flip=st.integers(1, 255), data=st.data())
def test_no_byte_of_a_payload_can_be_changed(size: int, flip: int, data: st.DataObject) -> None:
    payload = bytearray(sealed(clip(size)))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= flip
    with pytest.raises(TamperedPayloadError):
        open_payload(KEY, bytes(payload))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("extra", [b"x", bytes(16), bytes(SEALED_CHUNK_BYTES), bytes(200_000)])
def test_nothing_may_follow_the_last_chunk(size: int, extra: bytes) -> None:
    with pytest.raises(TamperedPayloadError):
        open_payload(KEY, sealed(clip(size)) + extra)


def test_what_comes_after_a_full_last_chunk_is_refused_when_it_comes() -> None:
    reader = PayloadReader(KEY)
    assert reader.feed(sealed(clip(CHUNK_BYTES))) == clip(CHUNK_BYTES)
    assert reader.feed(b"x") == b""
    with pytest.raises(TamperedPayloadError, match="behind"):
        reader.feed(b"y")
    with pytest.raises(TamperedPayloadError, match="behind"):
        reader.finish()


def test_chunks_cannot_change_places() -> None:
    payload = sealed(clip(3 * CHUNK_BYTES))
    first, second, third = chunk_offset(0), chunk_offset(1), chunk_offset(2)
    swapped = payload[:first] + payload[second:third] + payload[first:second] + payload[third:]
    with pytest.raises(TamperedPayloadError):
        open_payload(KEY, swapped)


def test_a_reader_gives_a_chunk_out_as_soon_as_it_is_whole() -> None:
    payload = sealed(clip(200_000))
    reader = PayloadReader(KEY)
    assert reader.feed(payload[: chunk_offset(1) - 1]) == b""
    assert reader.feed(payload[chunk_offset(1) - 1 : chunk_offset(1)]) == clip(CHUNK_BYTES)


def test_a_payload_under_another_key_does_not_open() -> None:
    with pytest.raises(TamperedPayloadError):
        open_payload(FileKey(bytes(16)), sealed(b"short"))


@pytest.mark.parametrize("size", SIZES)
def test_any_chunk_opens_by_its_number(size: int) -> None:
    payload = sealed(clip(size))
    last = (len(payload) - 17) // SEALED_CHUNK_BYTES
    for index in range(last + 1):
        chunk = payload[chunk_offset(index) : chunk_offset(index + 1)]
        plaintext = open_range(KEY, NONCE, index, chunk, ends_payload=index == last)
        assert plaintext == clip(size)[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def test_several_chunks_open_together() -> None:
    payload = sealed(clip(200_000))
    middle = payload[chunk_offset(1) : chunk_offset(3)]
    end = payload[chunk_offset(2) :]
    assert open_range(KEY, NONCE, 1, middle, ends_payload=False) == clip(200_000)[65536:196608]
    assert open_range(KEY, NONCE, 2, end, ends_payload=True) == clip(200_000)[131072:]


@pytest.mark.parametrize(
    ("first", "start", "end", "ends_payload", "error"),
    [
        (0, 1, 2, False, TamperedPayloadError),  # another chunk's number
        (1, 1, 2, True, TruncatedPayloadError),  # not the last
        (3, 3, 4, False, TamperedPayloadError),  # the last, and the caller expects more
        (0, 0, 0, False, TruncatedPayloadError),  # nothing
    ],
)
def test_a_range_that_is_not_what_it_is_said_to_be_is_refused(
    first: int,
    start: int,
    end: int,
    ends_payload: bool,  # noqa: FBT001  # a case, not a switch
    error: type[BadMessageError],
) -> None:
    chunks = sealed(clip(200_000))[chunk_offset(start) : chunk_offset(end)]
    with pytest.raises(error):
        open_range(KEY, NONCE, first, chunks, ends_payload=ends_payload)


def test_an_identity_file_holds_keys_comments_and_blank_lines() -> None:
    text = f"# epoch 1\n{HOUSEHOLD}\n\n   \n# epoch 2\r\n{AGENCY}\r\n"
    assert parse_identity_file(text) == [HOUSEHOLD, AGENCY]


def test_a_wrong_line_of_an_identity_file_is_named_and_not_shown() -> None:
    wrong = str(HOUSEHOLD)[:-1]
    with pytest.raises(MalformedKeyError, match="line 2") as caught:
        parse_identity_file(f"# mine\n{wrong}\n")
    assert wrong[20:] not in str(caught.value)
    assert caught.value.__suppress_context__


def test_an_identity_file_without_a_key_is_refused() -> None:
    with pytest.raises(MalformedKeyError, match="no key"):
        parse_identity_file("# nothing\n")
