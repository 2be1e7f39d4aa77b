"""The two JSON bodies of a transfer and the set of ranges they carry."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId
from doorstep_shared.manifest import MAX_PAYLOAD_BYTES, ObjectName
from doorstep_shared.transfer.messages import (
    CHUNK_BYTES,
    MAX_REPLY_BYTES,
    MAX_RETRY_AFTER_MS,
    MAX_SPANS,
    MAX_WINDOW,
    MIN_CHUNK_BYTES,
    Code,
    Init,
    Reason,
    Reply,
    Subject,
    decode_init,
    decode_reply,
    encode_init,
    encode_reply,
)
from doorstep_shared.transfer.ranges import NOTHING, Ranges

CLIP = ClipId("0190a0b0-0000-7000-8000-000000000000")
CHUNKS = st.integers(1, CHUNK_BYTES // MIN_CHUNK_BYTES).map(lambda n: n * MIN_CHUNK_BYTES)
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)

REPLY = {
    "v": 1,
    "clip": CLIP,
    "object": "file",
    "re": "offset",
    "offset": 131072,
    "code": 0,
    "reason": "",
    "have": [[0, 262144]],
    "upto": 262144,
    "credit": 16,
    "chunk": 131072,
    "retry_after_ms": 0,
}


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    subject = draw(st.sampled_from(Subject))
    offset = draw(st.integers(0, 99_999_999)) if subject is Subject.OFFSET else None
    return Reply(
        clip=CLIP,
        object=draw(st.sampled_from(ObjectName)),
        subject=subject,
        code=draw(st.sampled_from(Code)),
        offset=offset,
        reason=str(draw(st.sampled_from(Reason))),
        have=Ranges.of(draw(SPANS)),
        credit=draw(st.integers(0, MAX_WINDOW)),
        chunk=draw(CHUNKS),
        retry_after_ms=draw(st.integers(0, MAX_RETRY_AFTER_MS)),
    )


def changed(**fields: object) -> bytes:
    return json.dumps({**REPLY, **fields}).encode()


def bytes_of(spans: list[tuple[int, int]]) -> set[int]:
    return {byte for start, end in spans for byte in range(start, end)}


@given(CHUNKS)
def test_an_init_is_read_as_it_was_written(chunk: int) -> None:
    assert decode_init(encode_init(Init(chunk))) == Init(chunk)


@given(replies())
def test_a_reply_is_read_as_it_was_written(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


def test_a_reply_has_the_fields_of_the_wire() -> None:
    reply = Reply(
        clip=CLIP,
        object=ObjectName.FILE,
        subject=Subject.OFFSET,
        code=Code.OK,
        offset=131072,
        have=Ranges(((0, 262144),)),
        credit=16,
    )

    assert json.loads(encode_reply(reply)) == REPLY


def test_an_init_has_the_fields_of_the_wire() -> None:
    assert json.loads(encode_init(Init())) == {"v": 1, "chunk": 131072}


def test_fields_of_a_newer_peer_are_passed_over() -> None:
    assert decode_init(b'{"v":1,"chunk":65536,"colour":"red"}') == Init(65536)
    assert decode_reply(changed(put_url="x")) == decode_reply(changed())


def test_a_reason_of_a_newer_peer_is_kept() -> None:
    assert decode_reply(changed(reason="too_windy")).reason == "too_windy"


def test_bytes_held_from_the_start_need_no_span() -> None:
    assert decode_reply(changed(have=[[20, 30]], upto=20)).have == Ranges(((0, 30),))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"v":2,"chunk":131072}',
        b'{"v":1,"chunk":"131072"}',
        b'{"v":1,"chunk":131072.0}',
        b'{"v":1,"chunk":true}',
        b'{"v":1,"chunk":0}',
        b'{"v":1,"chunk":-32768}',
        b'{"v":1,"chunk":32767}',
        b'{"v":1,"chunk":40000}',
        b'{"v":1,"chunk":163840}',
        b'{"v":1,"chunk":131072,"pad":"' + b"x" * 1024 + b'"}',
    ],
)
def test_a_malformed_init_is_a_bad_message(body: bytes) -> None:
    with pytest.raises(BadMessageError):
        decode_init(body)


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 2},
        {"clip": CLIP.upper()},
        {"clip": "0190a0b0-0000-4000-8000-000000000000"},
        {"clip": f"{CLIP}\n"},
        {"object": "movie"},
        {"re": "progress"},
        {"re": "fin"},
        {"offset": None},
        {"offset": -1},
        {"offset": 100_000_000},
        {"offset": "0"},
        {"code": 1},
        {"code": "0"},
        {"reason": "Too windy!"},
        {"reason": "x" * 41},
        {"have": [[0]]},
        {"have": [[0, 1, 2]]},
        {"have": [[-1, 5]]},
        {"have": [[0, MAX_PAYLOAD_BYTES + 1]]},
        {"have": [[0, 1]] * (MAX_SPANS + 1)},
        {"upto": MAX_PAYLOAD_BYTES + 1},
        {"credit": MAX_WINDOW + 1},
        {"credit": -1},
        {"chunk": 1},
        {"retry_after_ms": MAX_RETRY_AFTER_MS + 1},
        {"retry_after_ms": -1},
        {"pad": "x" * MAX_REPLY_BYTES},
    ],
)
def test_a_malformed_reply_is_a_bad_message(fields: dict[str, object]) -> None:
    with pytest.raises(BadMessageError):
        decode_reply(changed(**fields))


@given(st.binary(max_size=200))
def test_noise_is_a_bad_message_and_nothing_else(noise: bytes) -> None:
    for decode in (decode_init, decode_reply):
        with pytest.raises(BadMessageError):
            decode(noise)


def test_the_most_scattered_object_still_fits_a_reply() -> None:
    chunk = MIN_CHUNK_BYTES
    scattered = Ranges.of((n * chunk, (n + 1) * chunk) for n in range(1, 2 * MAX_SPANS, 2))
    reply = Reply(
        clip=CLIP, object=ObjectName.FILE, subject=Subject.INIT, code=Code.OK, have=scattered
    )

    assert len(scattered.spans) == MAX_SPANS
    assert decode_reply(encode_reply(reply)).have == scattered


def test_a_full_window_of_the_largest_segments_is_two_mebibytes() -> None:
    assert MAX_WINDOW * CHUNK_BYTES == 2 * 1024 * 1024


@given(SPANS)
def test_ranges_hold_exactly_the_bytes_they_were_given(spans: list[tuple[int, int]]) -> None:
    ranges = Ranges.of(spans)

    held = bytes_of(spans)
    assert bytes_of(list(ranges.spans)) == held
    assert ranges.size == len(held)
    assert ranges.upto == next(byte for byte in range(62) if byte not in held)


@given(SPANS)
def test_ranges_are_sorted_and_never_touch(spans: list[tuple[int, int]]) -> None:
    merged = Ranges.of(spans).spans

    assert all(start < end for start, end in merged)
    assert all(left[1] < right[0] for left, right in pairwise(merged))


@given(SPANS, SPANS)
def test_a_union_holds_what_either_holds(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    assert Ranges.of(left).union(Ranges.of(right)) == Ranges.of(left + right)


@given(SPANS, st.integers(0, 59), st.integers(1, 10))
def test_a_range_is_covered_when_every_byte_of_it_is_held(
    spans: list[tuple[int, int]], start: int, length: int
) -> None:
    covered = bytes_of([(start, start + length)]) <= bytes_of(spans)

    assert Ranges.of(spans).covers(start, start + length) == covered


def test_nothing_holds_nothing() -> None:
    assert (NOTHING.size, NOTHING.upto, NOTHING.covers(0, 1)) == (0, 0, False)
