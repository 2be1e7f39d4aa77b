"""A recording cut at any moment is a complete payload that ends where it was last safe."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from doorstep_shared import seal
from doorstep_shared.seal import CHUNK_BYTES, SEALED_CHUNK_BYTES, FileKey, chunk_offset
from doorstep_shared.tail import (
    MAX_PAYLOAD_BYTES,
    MAX_SLOT_BYTES,
    SLOT_OFFSETS,
    Finished,
    RecordingCipher,
    Recovered,
    Slot,
    Write,
    encode_slot,
    free_box,
    parse_slot,
    recover,
    was_safe_once,
)
from doorstep_shared.unseal import open_payload

KEY = FileKey(b"a file key's 16B")
NONCE = bytes(range(16))
PAGE_BYTES = 4096


class Card:
    """A file on a card that keeps what was synced and any pages of what was not."""

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.length = 0
        self._pending: list[Write] = []

    def write(self, write: Write) -> None:
        self._pending.append(write)

    def sync(self) -> None:
        for write in self._pending:
            for page in self._pages_of(write):
                self._apply(write, page)
        self._pending.clear()

    def cut(self, luck: random.Random) -> None:
        """Lose power: each page of each write since the last sync is there or not."""
        for write in self._pending:
            for page in self._pages_of(write):
                if luck.random() < 0.5:
                    self._apply(write, page)
        self._pending.clear()

    def read(self, offset: int, size: int) -> bytes:
        assert offset + size <= self.length, "a read behind the end"
        first, end = offset // PAGE_BYTES, (offset + size - 1) // PAGE_BYTES + 1
        data = b"".join(self.pages.get(page, bytes(PAGE_BYTES)) for page in range(first, end))
        return data[offset - first * PAGE_BYTES :][:size]

    @staticmethod
    def _pages_of(write: Write) -> range:
        end = write.offset + len(write.data)
        return range(write.offset // PAGE_BYTES, (end - 1) // PAGE_BYTES + 1)

    def _apply(self, write: Write, page: int) -> None:
        content = bytearray(self.pages.get(page, bytes(PAGE_BYTES)))
        start = max(write.offset, page * PAGE_BYTES)
        end = min(write.offset + len(write.data), (page + 1) * PAGE_BYTES)
        content[start - page * PAGE_BYTES : end - page * PAGE_BYTES] = write.data[
            start - write.offset : end - write.offset
        ]
        self.pages[page] = bytes(content)
        self.length = max(self.length, end)


@dataclass
class Recorder:
    """What the device does with a recording's writes, operation by operation."""

    card: Card = field(default_factory=Card)
    cipher: RecordingCipher = field(default_factory=lambda: RecordingCipher(KEY, NONCE))
    given: bytes = b""
    media_ms: int = 0
    safe: bytes = b""
    safe_media_ms: int = 0
    syncs: int = 0

    def tick(self, fragments: bytes) -> Iterator[None]:
        """Do one tick; pauses before each operation on the card."""
        self.given += fragments
        self.media_ms += 1000
        yield from self._do(self.cipher.tick(fragments, self.media_ms))

    def finish(self, fragments: bytes) -> Iterator[None]:
        self.given += fragments
        self.media_ms += 10 if fragments else 0
        yield from self._do(self.cipher.finish(fragments, self.media_ms).writes)

    def _do(self, writes: tuple[Write, ...]) -> Iterator[None]:
        for write in writes:
            yield
            self.card.write(write)
        if writes:
            yield
            self.card.sync()
            self.syncs += 1
            self.safe, self.safe_media_ms = self.given, self.media_ms


def box(name: bytes, size: int) -> bytes:
    return (
        size.to_bytes(4, "big")
        + name
        + hashlib.shake_256(name + bytes([size % 251])).digest(size - 8)
    )


def boxes_of(plaintext: bytes) -> list[bytes]:
    """Split MP4 into its top-level boxes; fails if they do not fill it exactly."""
    boxes = []
    start = 0
    while start < len(plaintext):
        size = int.from_bytes(plaintext[start : start + 4], "big")
        assert 8 <= size <= len(plaintext) - start
        boxes.append(plaintext[start : start + size])
        start += size
    return boxes


def media_of(plaintext: bytes) -> bytes:
    """Return the boxes that were given, without those that only fill."""
    kept = [one for one in boxes_of(plaintext) if one[4:8] != b"free"]
    return b"".join(kept)


def opened(card: Card, recovered: Recovered) -> bytes:
    body = card.read(0, recovered.write.offset)
    payload = body + recovered.write.data
    assert len(payload) == recovered.payload_bytes
    assert hashlib.sha256(payload).digest() == recovered.sha256
    return open_payload(KEY, payload)


def check_cut(recorder: Recorder, luck: random.Random) -> None:
    recorder.card.cut(luck)
    recovered = recover(recorder.card.read, recorder.card.length)
    if recovered is None:
        assert recorder.syncs == 0
        assert not was_safe_once(recorder.card.read, recorder.card.length)
        return
    media = media_of(opened(recorder.card, recovered))
    assert media.startswith(recorder.safe)
    assert recorder.given.startswith(media)
    assert recorder.safe_media_ms <= recovered.media_ms <= recorder.media_ms
    check_cut_during_recovery(recorder.card, recovered, luck)


def check_cut_during_recovery(card: Card, recovered: Recovered, luck: random.Random) -> None:
    """Recover, lose power again, recover again: always the same."""
    card.write(recovered.write)
    card.cut(luck)
    assert recover(card.read, card.length) == recovered
    card.write(recovered.write)
    card.sync()
    assert recover(card.read, card.length) == recovered
    payload = card.read(0, recovered.payload_bytes)
    assert hashlib.sha256(payload).digest() == recovered.sha256


@contextmanager
def watched_nonces() -> Iterator[dict[tuple[bytes, bytes], bytes]]:
    """Watch the sealing of every payload begun in here; fails when a nonce is used again."""
    seen: dict[tuple[bytes, bytes], bytes] = {}

    class Watched:
        def __init__(self, key: bytes) -> None:
            self._key = key
            self._real = ChaCha20Poly1305(key)

        def encrypt(self, nonce: bytes, data: bytes | memoryview, aad: None) -> bytes:
            assert (self._key, nonce) not in seen, "a nonce is used again"
            seen[self._key, nonce] = hashlib.sha256(data).digest()
            return self._real.encrypt(nonce, data, aad)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "ChaCha20Poly1305", Watched)
        yield seen


# Around the places where something begins or ends: a box, the room for a free box, a chunk.
FRAGMENT_SIZES = st.one_of(
    st.integers(8, 2000),
    st.integers(CHUNK_BYTES - 20, CHUNK_BYTES + 20),
    st.integers(2 * CHUNK_BYTES - 20, 2 * CHUNK_BYTES + 20),
    st.integers(8, 3 * CHUNK_BYTES),
)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(FRAGMENT_SIZES, min_size=1, max_size=6),
    finishes=st.sampled_from([None, 0, 8, 5000, CHUNK_BYTES]),
    cut_after=st.integers(0, 24),
    seed=st.integers(0, 2**32),
)
def test_a_cut_at_any_operation_leaves_all_that_was_synced(
    sizes: list[int], finishes: int | None, cut_after: int, seed: int
) -> None:
    with watched_nonces() as nonces:
        recorder = Recorder()
        operations = scene(recorder, sizes, finishes)
        for _ in zip(range(cut_after), operations, strict=False):
            pass
    assert bool(nonces) == (cut_after > 0)
    check_cut(recorder, random.Random(seed))


@pytest.mark.parametrize("seed", range(4))
def test_a_scene_survives_a_cut_before_each_of_its_operations(seed: int) -> None:
    sizes = [30_000, 200_000, CHUNK_BYTES, CHUNK_BYTES - 4, 70_000]
    total = sum(1 for _ in scene(Recorder(), sizes, 9000))
    assert total == 3 * 5 + 4
    for cut_before in range(total + 1):
        recorder = Recorder()
        for _ in zip(range(cut_before), scene(recorder, sizes, 9000), strict=False):
            pass
        check_cut(recorder, random.Random(f"{seed} {cut_before}"))


def scene(recorder: Recorder, sizes: list[int], finishes: int | None) -> Iterator[None]:
    for size in sizes:
        yield from recorder.tick(box(b"mdat", size))
    if finishes is not None:
        yield from recorder.finish(box(b"mdat", finishes) if finishes else b"")


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(FRAGMENT_SIZES, max_size=6),
    last=st.one_of(st.just(0), FRAGMENT_SIZES),
)
def test_a_finished_recording_is_its_fragments_and_free_boxes(sizes: list[int], last: int) -> None:
    starts = []
    with watched_nonces() as nonces:
        recorder = Recorder()
        for size in sizes:
            starts.append(recorder.cipher.plaintext_bytes)
            run(recorder.tick(box(b"mdat", size)))
        finished = finish(recorder, box(b"mdat", last) if last else b"")
    payload = recorder.card.read(0, finished.payload_bytes)
    assert hashlib.sha256(payload).digest() == finished.sha256
    plaintext = open_payload(KEY, payload)
    assert media_of(plaintext) == recorder.given
    for start, size in zip(starts, sizes, strict=True):
        assert plaintext[start : start + size] == box(b"mdat", size)
    # Every chunk but the last as not final, and the newest of each call as final.
    chunks = -(-(finished.payload_bytes - 16) // SEALED_CHUNK_BYTES)
    calls = len(sizes) + (1 if last or not sizes else 0)
    assert len(nonces) == chunks - 1 + calls


def finish(recorder: Recorder, fragments: bytes) -> Finished:
    recorder.given += fragments
    finished = recorder.cipher.finish(fragments, recorder.media_ms + 10)
    for write in finished.writes:
        recorder.card.write(write)
    recorder.card.sync()
    return finished


def run(operations: Iterator[None]) -> None:
    for _ in operations:
        pass


def test_a_finished_recording_is_also_what_a_recovery_finds() -> None:
    recorder = Recorder()
    run(recorder.tick(box(b"mdat", 100_000)))
    finished = finish(recorder, box(b"mdat", 7777))
    recovered = recover(recorder.card.read, recorder.card.length)
    assert recovered is not None
    assert recovered.payload_bytes == finished.payload_bytes
    assert recovered.sha256 == finished.sha256
    assert recovered.media_ms == 1010


def test_ticks_take_turns_between_the_slots() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    offsets = [cipher.tick(box(b"mdat", 100), ms)[-1].offset for ms in (1, 2, 3, 4)]
    assert offsets == [*SLOT_OFFSETS, *SLOT_OFFSETS]


def test_a_tick_with_nothing_new_touches_no_slot() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    assert cipher.tick(b"", 0) == ()
    first = cipher.tick(box(b"mdat", 100), 1000)
    assert cipher.tick(b"", 2000) == ()
    second = cipher.tick(box(b"mdat", 100), 3000)
    assert first[-1].offset != second[-1].offset


def test_a_tick_never_overwrites_what_an_earlier_one_left_in_the_body() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    end = 0
    for size in (100, 200_000, CHUNK_BYTES, 8):
        body, slot = cipher.tick(box(b"mdat", size), 0)
        assert body.offset == end
        end += len(body.data)
        assert end < slot.offset
        parsed = parse_slot(slot.data)
        assert parsed is not None
        assert chunk_offset(parsed.index) == end
        assert cipher.payload_bytes == end + SEALED_CHUNK_BYTES


def test_a_recording_of_nothing_is_a_payload_of_nothing() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    assert cipher.payload_bytes == 0
    finished = cipher.finish(b"", 0)
    card = Card()
    for write in finished.writes:
        card.write(write)
    card.sync()
    assert open_payload(KEY, card.read(0, finished.payload_bytes)) == b""


def test_a_finished_recording_takes_no_more() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    cipher.tick(box(b"mdat", 100), 1000)
    cipher.finish(b"", 1000)
    for again in (cipher.finish, cipher.tick):
        with pytest.raises(ValueError, match="finished"):
            again(box(b"mdat", 100), 2000)
    with pytest.raises(ValueError, match="finished"):
        cipher.finish(b"", 2000)


def test_a_payload_never_reaches_the_slots() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    room = MAX_PAYLOAD_BYTES // SEALED_CHUNK_BYTES * CHUNK_BYTES
    with pytest.raises(ValueError, match="32 MiB"):
        cipher.tick(bytes(room + CHUNK_BYTES), 1000)
    body, _ = cipher.tick(bytes(room), 1000)
    assert body.offset + len(body.data) + SEALED_CHUNK_BYTES <= MAX_PAYLOAD_BYTES < SLOT_OFFSETS[0]
    with pytest.raises(ValueError, match="32 MiB"):
        cipher.finish(bytes(CHUNK_BYTES), 2000)
    assert SLOT_OFFSETS[0] + MAX_SLOT_BYTES <= SLOT_OFFSETS[1]


@given(room=st.integers(0, CHUNK_BYTES - 1))
def test_a_free_box_fills_the_chunk_or_the_next_one(room: int) -> None:
    filled = free_box(room)
    assert (len(filled) - room) % CHUNK_BYTES == 0
    assert len(filled) < CHUNK_BYTES + 8
    if room:
        assert boxes_of(filled) == [filled]
        assert filled[4:8] == b"free"
        assert set(filled[8:]) <= {0}


SLOTS = st.builds(
    Slot,
    index=st.integers(0, 2**32 - 1),
    media_ms=st.integers(0, 2**32 - 1),
    body_sha256=st.binary(min_size=32, max_size=32),
    chunk=st.binary(min_size=16, max_size=200),
)


@given(slot=SLOTS, behind=st.binary(max_size=20))
def test_a_slot_is_read_as_it_was_written_whatever_lies_behind(slot: Slot, behind: bytes) -> None:
    assert parse_slot(encode_slot(slot) + behind) == slot


@given(slot=SLOTS, data=st.data())
def test_a_slot_that_is_not_whole_is_none(slot: Slot, data: st.DataObject) -> None:
    encoded = bytearray(encode_slot(slot))
    assert parse_slot(bytes(encoded[: data.draw(st.integers(0, len(encoded) - 1))])) is None
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= data.draw(st.integers(1, 255))
    assert parse_slot(bytes(encoded)) is None


@pytest.mark.parametrize("chunk_bytes", [0, 15, SEALED_CHUNK_BYTES + 1])
def test_a_slot_with_a_chunk_that_cannot_be_is_none(chunk_bytes: int) -> None:
    assert parse_slot(encode_slot(Slot(0, 0, bytes(32), bytes(chunk_bytes)))) is None


def test_the_longest_slot_fits() -> None:
    assert len(encode_slot(Slot(0, 0, bytes(32), bytes(SEALED_CHUNK_BYTES)))) == MAX_SLOT_BYTES


def test_a_hole_is_no_recording() -> None:
    assert recover(lambda _, size: bytes(size), 2 * SLOT_OFFSETS[1]) is None
    assert recover(lambda _, size: bytes(size), 0) is None


def test_a_slot_without_its_body_is_passed_over_for_the_earlier_one() -> None:
    recorder = Recorder()
    run(recorder.tick(box(b"mdat", 100)))
    first = recover(recorder.card.read, recorder.card.length)
    run(recorder.tick(box(b"mdat", 200)))
    second = recover(recorder.card.read, recorder.card.length)
    assert first is not None
    assert second is not None
    assert (first.media_ms, second.media_ms) == (1000, 2000)
    # The last byte of the first chunk, which only the second tick put there.
    recorder.card.write(Write(second.write.offset - 1, b"?"))
    recorder.card.sync()
    assert recover(recorder.card.read, recorder.card.length) == first


def test_a_slot_whose_body_would_lie_behind_the_end_is_passed_over() -> None:
    slot = encode_slot(Slot(10_000, 0, bytes(32), bytes(16)))
    card = Card()
    card.write(Write(SLOT_OFFSETS[0], slot))
    card.sync()
    assert recover(card.read, card.length) is None


def test_the_file_key_is_in_no_write() -> None:
    cipher = RecordingCipher(KEY, NONCE)
    writes = [*cipher.tick(box(b"mdat", 100), 1000), *cipher.finish(b"", 1000).writes]
    for write in writes:
        assert KEY.secret not in write.data
        assert KEY.payload_key(NONCE) not in write.data
        assert b"mdat" not in write.data
        assert b"free" not in write.data
