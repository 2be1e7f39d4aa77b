"""Whatever happens to a log's bytes, a record that was not touched is read."""

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_device import event_records
from doorstep_device.event_records import (
    LONGEST_APPEND_BYTES,
    Put,
    Record,
    acked_records,
    encode_records,
    read_records,
)
from doorstep_shared.crc32c import crc32c
from doorstep_shared.manifest import ClipKind
from tests.people import NOW_MS
from tests.recording import event

EVENTS = [event(f"event {number}", NOW_MS + number) for number in range(64)]
IDS = [each.event for each in EVENTS]

puts = st.builds(
    lambda kind, event: Record(put=Put(kind=kind, event=event)),
    st.sampled_from(ClipKind),
    st.sampled_from(EVENTS),
)
ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=64, unique=True)
acks = ids.map(lambda acked: Record(acked=tuple(acked)))
logs = st.lists(puts | acks, min_size=1, max_size=40, unique_by=repr)


def whole(records: Sequence[Record], damaged: bytes) -> tuple[Record, ...]:
    """Return those of ``records`` whose bytes in ``damaged`` are what they were."""
    pieces = [encode_records([record]) for record in records]
    starts = itertools.accumulate(map(len, pieces), initial=0)
    laid = zip(records, pieces, starts, strict=False)
    return tuple(each for each, piece, at in laid if damaged[at : at + len(piece)] == piece)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + crc32c(body).to_bytes(4, "big") + body


@given(logs)
def test_what_was_written_is_read(records: list[Record]) -> None:
    reading = read_records(encode_records(records))
    assert reading.records == tuple(records)
    assert (reading.is_torn, reading.is_damaged) == (False, False)


@given(logs, st.data())
def test_a_flipped_bit_costs_the_record_it_is_in_and_is_seen(
    records: list[Record], data: st.DataObject
) -> None:
    log = bytearray(encode_records(records))
    bit = data.draw(st.integers(0, 8 * len(log) - 1))
    log[bit // 8] ^= 1 << bit % 8
    reading = read_records(bytes(log))
    assert reading.records == whole(records, bytes(log))
    assert len(reading.records) == len(records) - 1
    is_in_the_last = records[-1] not in reading.records
    assert (reading.is_torn, reading.is_damaged) == (is_in_the_last, not is_in_the_last)


@given(logs, st.data())
def test_a_cut_costs_what_lies_behind_it_and_is_no_damage(
    records: list[Record], data: st.DataObject
) -> None:
    log = encode_records(records)
    log = log[: data.draw(st.integers(0, len(log)))]
    reading = read_records(log)
    kept = whole(records, log)
    assert reading.records == kept == tuple(records[: len(kept)])
    assert reading.is_torn == (len(encode_records(kept)) < len(log))
    assert not reading.is_damaged


@given(logs, st.data())
def test_a_hole_costs_the_records_it_touches(records: list[Record], data: st.DataObject) -> None:
    log = bytearray(encode_records(records))
    start = data.draw(st.integers(0, len(log) - 1))
    end = min(start + 4096, len(log))
    log[start:end] = bytes(end - start)
    reading = read_records(bytes(log))
    kept = whole(records, bytes(log))
    assert reading.records == kept
    lost_bytes = len(log) - len(encode_records(kept))
    assert reading.is_torn or reading.is_damaged or not lost_bytes
    if records[-1] in kept or lost_bytes > LONGEST_APPEND_BYTES:
        assert reading.is_damaged == (lost_bytes > 0)


@given(logs, st.data(), st.binary(min_size=1, max_size=500))
def test_garbage_between_records_hides_none_of_them(
    records: list[Record], data: st.DataObject, garbage: bytes
) -> None:
    place = data.draw(st.integers(0, len(records) - 1))
    log = encode_records(records[:place]) + garbage + encode_records(records[place:])
    reading = read_records(log)
    assert reading.records == tuple(records)
    assert reading.is_damaged


@pytest.mark.parametrize(
    ("byte", "bit"), [(2, 4), (3, 4), (0, 7)], ids=["longer", "a little off", "absurd"]
)
def test_a_wrong_length_takes_no_neighbour_along(byte: int, bit: int) -> None:
    records = [Record(put=Put(kind=ClipKind.RING, event=each)) for each in EVENTS]
    log = bytearray(encode_records(records))
    log[byte] ^= 1 << bit
    assert read_records(bytes(log)).records == tuple(records[1:])


def test_no_words_in_a_record_make_another_of_its_own() -> None:
    inner = encode_records([Record(acked=(IDS[0],))])
    note = json.dumps({"note": inner.decode("latin-1")}, separators=(",", ":")).encode()
    damaged = bytearray(framed(note))
    damaged[4] ^= 1
    for log in (bytes(damaged), framed(note), framed(b'{"note":"' + inner + b'"}')):
        assert read_records(log).records == ()


@pytest.mark.parametrize("body", [b'{"put":{"kind":"knock","event":{}}}', b'{"moved":1}'])
def test_an_unknown_record_is_damage_wherever_it_is(body: bytes) -> None:
    known = Record(put=Put(kind=ClipKind.RING, event=EVENTS[0]))
    reading = read_records(encode_records([known]) + framed(body))
    assert reading.records == (known,)
    assert (reading.is_torn, reading.is_damaged) == (False, True)


def test_the_longest_append_is_within_what_a_cut_may_leave() -> None:
    acked = [event(f"acked {number}").event for number in range(100)]
    records = list(acked_records(acked))
    assert [len(record.acked or ()) for record in records] == [64, 36]
    assert max(len(encode_records([record])) for record in records) <= LONGEST_APPEND_BYTES


def test_what_is_too_long_for_one_append_is_no_torn_end() -> None:
    for left_bytes in (LONGEST_APPEND_BYTES, LONGEST_APPEND_BYTES + 1):
        reading = read_records(bytes(left_bytes))
        is_one_append = left_bytes == LONGEST_APPEND_BYTES
        assert (reading.is_torn, reading.is_damaged) == (is_one_append, not is_one_append)


@pytest.mark.parametrize(
    "garbage",
    [
        bytes(200_000),
        b'{"' * 100_000,
        b'\0\0\x1f\xff\0\0\0\0{"' * 20_000,
        framed(b'{"') * 10_000 + b'\0\0\x1f\xff\0\0\0\0{"' * 20_000,
    ],
)
def test_garbage_full_of_beginnings_is_checked_a_few_times_at_most(
    garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked_bytes = 0

    def count(data: bytes) -> int:
        nonlocal checked_bytes
        checked_bytes += len(data)
        return crc32c(data) if len(data) < 100 else 1

    monkeypatch.setattr(event_records, "crc32c", count)
    reading = read_records(garbage)
    assert (reading.records, reading.is_damaged) == ((), True)
    assert checked_bytes < 6 * len(garbage)
