"""The ring holds the pre-roll, whole GOPs, and no more than it may."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from doorstep_device.rules.packet_ring import MAX_GAP_US, PacketRing


@dataclass(frozen=True)
class Coded:
    at_us: int
    is_key: bool
    data: bytes = b"12345678"


def streams() -> st.SearchStrategy[list[Coded]]:
    pictures = st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.integers(0, 40)))
    return pictures.map(_stream)


def _stream(pictures: list[tuple[int, bool, int]]) -> list[Coded]:
    at_us, stream = 0, []
    for gap, is_key, size in pictures:
        at_us += gap
        stream.append(Coded(at_us, is_key, bytes(size)))
    return stream


def fed(stream: list[Coded], keep_us: int = 1000, max_bytes: int = 10_000) -> PacketRing[Coded]:
    ring: PacketRing[Coded] = PacketRing(keep_us, max_bytes)
    for packet in stream:
        ring = ring.add(packet)
    return ring


@given(streams())
def test_it_holds_the_newest_packets_without_a_gap_from_a_key_frame_on(
    stream: list[Coded],
) -> None:
    held = fed(stream).since(0)
    assert list(held) == stream[len(stream) - len(held) :]
    assert all(packet.is_key for packet in held[:1])


@given(streams())
def test_it_reaches_back_for_as_long_as_asked_and_at_most_a_gop_more(stream: list[Coded]) -> None:
    ring = fed(stream)
    keys = [packet.at_us for packet in stream if packet.is_key]
    if not keys:
        assert ring.since(0) == ()
        return
    horizon = stream[-1].at_us - ring.keep_us
    begun_in_time = [at_us for at_us in keys if at_us <= horizon]
    assert ring.since(0)[0].at_us == (max(begun_in_time) if begun_in_time else keys[0])


def test_what_came_before_a_long_standstill_is_forgotten() -> None:
    before = [Coded(0, is_key=True), Coded(1, is_key=False)]
    late_us = 1 + MAX_GAP_US
    last_moment, too_late = Coded(late_us, is_key=True), Coded(late_us + 1, is_key=True)
    assert fed([*before, last_moment], keep_us=MAX_GAP_US).since(0) == (*before, last_moment)
    assert fed([*before, too_late], keep_us=MAX_GAP_US).since(0) == (too_late,)
    assert fed([*before, Coded(late_us + 1, is_key=False)]).since(0) == ()


@given(streams(), st.integers(0, 300))
def test_it_never_holds_more_bytes_than_it_may(stream: list[Coded], max_bytes: int) -> None:
    ring = fed(stream, max_bytes=max_bytes)
    assert ring.size_bytes == sum(len(packet.data) for packet in ring.since(0)) <= max_bytes


@given(streams(), st.integers(0, 20_000))
def test_asked_for_a_time_it_begins_with_the_last_key_frame_before(
    stream: list[Coded], at_us: int
) -> None:
    ring = fed(stream)
    keys = [packet.at_us for packet in ring.since(0) if packet.is_key]
    for earlier, later in pairwise([*keys, 1 << 60]):
        if earlier <= at_us < later:
            assert ring.since(at_us)[0].at_us == earlier
    if keys and at_us < keys[0]:
        assert ring.since(at_us) == ring.since(0)
