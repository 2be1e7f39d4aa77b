"""A recording that is sealed while it grows, and is whole at every cut.

One file holds it all. From byte 0 grows the *body*: the payload's nonce and its
non-final chunks. Far behind, in the hole of the same sparse file, lie two
*slots*: each can hold the newest chunk sealed as final, so that body and slot
together are a complete payload. One tick a second ends the newest chunk and
writes it into the slot that the last tick did not use; one fdatasync covers
both. After a power cut at least one slot fits the body before it.

A slot, numbers big-endian:

    index         u32   the chunk's place in the payload
    media_ms      u32   how much of the clip the payload then holds
    body_sha256   32    of the payload's bytes before the chunk
    chunk_bytes   u32   65552 at a tick; 16 to 65552 when the recording was finished
    chunk               ciphertext and tag, sealed as final
    crc32c        u32   over all of the above

Nobody needs a key to recover, and the file key never reaches the disk. No nonce
meets two plaintexts, since whether a chunk is final is part of its nonce: the
same full chunk is sealed once as final, for the slot, and once as not final,
for the body.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from doorstep_shared.crc32c import crc32c
from doorstep_shared.seal import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    TAG_BYTES,
    FileKey,
    PayloadSealer,
    chunk_offset,
)

MAX_PAYLOAD_BYTES: Final = 32 * 1024 * 1024
# Behind the longest payload, a slot's room apart: a slot needs 65,600 bytes.
SLOT_OFFSETS: Final = (33 * 1024 * 1024, 33 * 1024 * 1024 + 128 * 1024)

_SLOT_HEAD: Final = struct.Struct(">II32sI")
_CRC_BYTES: Final = 4
MAX_SLOT_BYTES: Final = _SLOT_HEAD.size + SEALED_CHUNK_BYTES + _CRC_BYTES

# ISO/IEC 14496-12 section 8.1.2: a box that players skip; its head is a size and its name.
_FREE_BOX_HEAD: Final = struct.Struct(">I4s")
_READ_BYTES: Final = 1024 * 1024
# What a file system keeps or loses as one; slots begin at such a page.
_PAGE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes to put into the recording's file.

    Attributes:
        offset: First byte to overwrite.
        data: What to put there.
    """

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Slot:
    """The newest chunk as of one tick, and what it belongs to.

    Attributes:
        index: The chunk's place in the payload.
        media_ms: How much of the clip the payload holds with it.
        body_sha256: SHA-256 of the payload's bytes before the chunk.
        chunk: The chunk, sealed as final.
    """

    index: int
    media_ms: int
    body_sha256: bytes
    chunk: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """What remains to be done for a recording that ended as it should.

    Do the writes and one fdatasync; make manifest and state durable; only then
    cut the file to ``payload_bytes``. Until the manifest is durable, the slots
    are what a recovery goes by.

    Attributes:
        writes: To be done in order.
        payload_bytes: Length of the payload, which begins at byte 0.
        sha256: Of the payload.
    """

    writes: tuple[Write, ...]
    payload_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """A complete payload found in what a cut left.

    Do `write` and one fdatasync; make manifest and state durable; only then cut
    the file to ``payload_bytes``. Cut again in between, it is found again, the same.

    Attributes:
        write: The last chunk, to where the body ends.
        payload_bytes: Length of the payload with it.
        sha256: Of the payload with it.
        media_ms: How much of the clip it holds.
    """

    write: Write
    payload_bytes: int
    sha256: bytes
    media_ms: int


class RecordingCipher:
    """Turns the growing bytes of one clip into writes that survive a cut.

    The writes of each call are done in order, then synced once, before the next
    call: a tick that overtakes a sync could tear both slots. When a write or sync
    fails, the recording is over and what the file holds is left to `recover`.

    Its file must be new: a hole reads as zeros, which are no slot.
    """

    def __init__(self, file_key: FileKey, nonce: bytes) -> None:
        """Begin a payload.

        Args:
            file_key: Drawn for this payload and used for no other.
            nonce: 16 random bytes.
        """
        self._sealer = PayloadSealer(file_key, nonce)
        self._unwritten = self._sealer.header
        self._body_bytes = 0
        self._body_hash = hashlib.sha256()
        self._index = 0
        self._newest = b""
        self._newest_sealed = b""
        self._slot_offset, self._other_slot_offset = SLOT_OFFSETS
        self._is_finished = False

    @property
    def payload_bytes(self) -> int:
        """Length of the payload if it ended with the last tick; 0 before the first."""
        return self._body_bytes + len(self._newest_sealed)

    @property
    def plaintext_bytes(self) -> int:
        """Where in the opened clip the next call's fragments begin; free boxes count."""
        return CHUNK_BYTES * self._index + len(self._newest)

    def tick(self, fragments: bytes, media_ms: int) -> tuple[Write, ...]:
        """Return the writes that make ``fragments`` safe; none when there is nothing new.

        The rest of the newest chunk is filled with an MP4 ``free`` box, so ``fragments``
        must end where a top-level box ends.

        Args:
            fragments: Whole MP4 boxes that came since the last call.
            media_ms: Length of the clip up to their end, from 0.

        Raises:
            ValueError: The payload would be longer than 32 MiB, or was finished.
        """
        if not fragments:
            return ()
        return self._append(fragments + free_box(-len(fragments) % CHUNK_BYTES), media_ms)

    def finish(self, fragments: bytes, media_ms: int) -> Finished:
        """Return what ends the payload with ``fragments``, which may be empty.

        The last chunk goes into a slot too, so that what this call syncs is as safe as a tick.

        Args:
            fragments: The last bytes of the clip; nothing is added to them.
            media_ms: Length of the whole clip.

        Raises:
            ValueError: The payload would be longer than 32 MiB, or was finished.
        """
        is_in_slot = self._newest_sealed and not fragments
        writes = () if is_in_slot else self._append(fragments, media_ms)
        self._require_growing()
        self._is_finished = True
        # The very bytes that are in the slot: sealed once, written twice.
        last = Write(self._body_bytes, self._newest_sealed)
        self._body_hash.update(last.data)
        return Finished((*writes, last), self.payload_bytes, self._body_hash.digest())

    def _append(self, data: bytes, media_ms: int) -> tuple[Write, Write]:
        self._require_growing()
        data = self._newest + data
        starts = range(0, max(len(data), 1), CHUNK_BYTES)
        last_index = self._index + len(starts) - 1
        last_chunk = data[starts[-1] :]
        if chunk_offset(last_index) + len(last_chunk) + TAG_BYTES > MAX_PAYLOAD_BYTES:
            raise ValueError("a payload ends before 32 MiB; begin the next part sooner")
        body = self._grow_body(data[: starts[-1]])
        self._index = last_index
        self._newest = last_chunk
        self._newest_sealed = self._sealer.seal_chunk(last_index, last_chunk, final=True)
        slot = Slot(last_index, media_ms, self._body_hash.digest(), self._newest_sealed)
        self._slot_offset, self._other_slot_offset = self._other_slot_offset, self._slot_offset
        return body, Write(self._other_slot_offset, encode_slot(slot))

    def _grow_body(self, full_chunks: bytes) -> Write:
        """Return the write that appends ``full_chunks``, whose successor now exists."""
        view = memoryview(full_chunks)
        sealed = [
            self._sealer.seal_chunk(self._index + place, view[start:][:CHUNK_BYTES], final=False)
            for place, start in enumerate(range(0, len(view), CHUNK_BYTES))
        ]
        write = Write(self._body_bytes, b"".join([self._unwritten, *sealed]))
        self._unwritten = b""
        self._body_bytes += len(write.data)
        self._body_hash.update(write.data)
        return write

    def _require_growing(self) -> None:
        if self._is_finished:
            raise ValueError("this recording was finished before")


def recover(read: Callable[[int, int], bytes], length: int) -> Recovered | None:
    """Return the longest complete payload in a recording that was cut; None if it holds none.

    None means that the cut came before the first tick was synced, or, if
    `was_safe_once`, that the file is damaged.

    Args:
        read: Returns the bytes at (offset, size) of the file; asked for nothing behind its end.
        length: Of the file, in bytes.
    """
    slots = [slot for offset in SLOT_OFFSETS if (slot := _read_slot(read, offset, length))]
    for slot in sorted(slots, key=lambda slot: slot.index, reverse=True):
        body_bytes = chunk_offset(slot.index)
        if body_bytes > length:
            continue
        payload_hash = hashlib.sha256()
        for start in range(0, body_bytes, _READ_BYTES):
            payload_hash.update(read(start, min(_READ_BYTES, body_bytes - start)))
        if payload_hash.digest() != slot.body_sha256:
            continue
        payload_hash.update(slot.chunk)
        return Recovered(
            write=Write(body_bytes, slot.chunk),
            payload_bytes=body_bytes + len(slot.chunk),
            sha256=payload_hash.digest(),
            media_ms=slot.media_ms,
        )
    return None


def was_safe_once(read: Callable[[int, int], bytes], length: int) -> bool:
    """Return whether a first tick had been synced: what `recover` misses then is damaged.

    The second slot comes after the first one's sync. A cut before that sync leaves a
    hole, or an end, in what the first tick wrote; sealed bytes have no page of zeros.

    Args:
        read: As for `recover`.
        length: Likewise.
    """
    offset, next_offset = SLOT_OFFSETS
    if length < offset + MAX_SLOT_BYTES:
        return False
    if length > next_offset:
        return True
    data = read(offset, MAX_SLOT_BYTES)
    if (slot := parse_slot(data)) is not None:
        data = read(0, chunk_offset(slot.index))
    pages = (data[start:][:_PAGE_BYTES] for start in range(0, len(data), _PAGE_BYTES))
    return all(map(any, pages))


def encode_slot(slot: Slot) -> bytes:
    """Return the bytes of ``slot``; at most `MAX_SLOT_BYTES`."""
    head = _SLOT_HEAD.pack(slot.index, slot.media_ms, slot.body_sha256, len(slot.chunk))
    data = head + slot.chunk
    return data + crc32c(data).to_bytes(_CRC_BYTES, "big")


def parse_slot(data: bytes) -> Slot | None:
    """Return the slot that ``data`` begins with; None if none was written there whole."""
    if len(data) < _SLOT_HEAD.size:
        return None
    index, media_ms, body_sha256, chunk_bytes = _SLOT_HEAD.unpack_from(data)
    end = _SLOT_HEAD.size + chunk_bytes
    if not TAG_BYTES <= chunk_bytes <= SEALED_CHUNK_BYTES or len(data) < end + _CRC_BYTES:
        return None
    if int.from_bytes(data[end : end + _CRC_BYTES], "big") != crc32c(data[:end]):
        return None
    return Slot(index, media_ms, body_sha256, data[_SLOT_HEAD.size : end])


def free_box(room_bytes: int) -> bytes:
    """Return an MP4 box that players skip and that fills a chunk's last ``room_bytes``.

    A box has 8 bytes at least; with fewer left it runs to the end of the next chunk.
    """
    if room_bytes == 0:
        return b""
    size = room_bytes if room_bytes >= _FREE_BOX_HEAD.size else room_bytes + CHUNK_BYTES
    return _FREE_BOX_HEAD.pack(size, b"free").ljust(size, b"\0")


def _read_slot(read: Callable[[int, int], bytes], offset: int, length: int) -> Slot | None:
    size = min(MAX_SLOT_BYTES, length - offset)
    return parse_slot(read(offset, size)) if size > 0 else None
