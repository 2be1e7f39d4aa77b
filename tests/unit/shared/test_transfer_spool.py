"""The journal of a spool: what a receiver remembers over a restart."""

from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.transfer.ranges import Ranges
from doorstep_shared.transfer.spool import Spool, failed_record, read_journal, written_record

CHUNK = 131072
SEGMENTS = st.lists(st.integers(0, 255), max_size=20)


def journal_of(segments: list[int]) -> list[bytes]:
    return [written_record(CHUNK, n * CHUNK, (n + 1) * CHUNK) for n in segments]


def ranges_of(segments: list[int]) -> Ranges:
    return Ranges.of((n * CHUNK, (n + 1) * CHUNK) for n in segments)


@given(SEGMENTS.filter(bool))
def test_a_journal_tells_every_segment_that_was_written(segments: list[int]) -> None:
    assert read_journal(b"".join(journal_of(segments))) == Spool(CHUNK, ranges_of(segments))


def test_an_empty_journal_tells_of_no_spool() -> None:
    assert read_journal(b"") is None


def test_wrong_hashes_are_counted_over_a_restart() -> None:
    journal = failed_record(CHUNK, 2) + written_record(CHUNK, 0, CHUNK)

    assert read_journal(journal) == Spool(CHUNK, Ranges(((0, CHUNK),)), failures=2)


def test_a_record_has_this_form() -> None:
    assert written_record(CHUNK, 0, CHUNK) == b"w 131072 0 131072 4e865866\n"
    assert failed_record(CHUNK, 1) == b"f 131072 1 0 bff78b94\n"


@given(SEGMENTS.filter(bool), st.integers(1, 30), SEGMENTS)
def test_a_torn_record_costs_at_most_its_segment_and_the_next(
    before: list[int], torn: int, after: list[int]
) -> None:
    journal = b"".join(journal_of(before))
    kept = journal[: max(0, len(journal) - min(torn, len(journal_of(before)[-1])))]
    spool = read_journal(kept + b"".join(journal_of(after)))

    claimed = spool.ranges if spool is not None else Ranges()
    everything, surely = ranges_of(before + after), ranges_of(before[:-1] + after[1:])
    assert everything.union(claimed) == everything
    assert claimed.union(surely) == claimed


@given(SEGMENTS.filter(bool), st.data())
def test_a_rotten_record_claims_nothing(segments: list[int], data: st.DataObject) -> None:
    journal = bytearray(b"".join(journal_of(segments)))
    where = data.draw(st.integers(0, len(journal) - 1))
    journal[where] ^= data.draw(st.integers(1, 255))
    spool = read_journal(bytes(journal))

    claimed = spool.ranges if spool is not None else Ranges()
    assert ranges_of(segments).union(claimed) == ranges_of(segments)


@given(st.binary(max_size=200))
def test_noise_tells_of_no_spool(noise: bytes) -> None:
    assert read_journal(noise) is None
