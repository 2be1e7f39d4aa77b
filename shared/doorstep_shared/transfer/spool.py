r"""What a receiver remembers over a restart: one line per segment, appended.

A spool is two files: the bytes at their offsets, and a journal. A record is
appended after its bytes were written, so the journal never claims more than
the bytes file was given. Whether either was synced does not matter for
safety: the object's hash is checked before it is stored, and the sender keeps
its own copy until then.

A record is ASCII: ``w chunk start end crc32\n`` for bytes written,
``f chunk failures 0 crc32\n`` for hashes that did not match. Each stands for
itself; one that was torn by a power cut is passed over, which costs one segment.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Final

from doorstep_shared.transfer.ranges import NOTHING, Ranges

_RECORD: Final = re.compile(rb"(([wf]) (\d{1,8}) (\d{1,8}) (\d{1,8})) ([0-9a-f]{8})")


@dataclass(frozen=True, slots=True)
class Spool:
    """What the journal says of an unfinished object.

    Attributes:
        chunk: Segment size granted when it began, bytes; it does not change.
        ranges: Bytes held.
        failures: How often the whole had the wrong hash.
    """

    chunk: int
    ranges: Ranges = NOTHING
    failures: int = 0


def written_record(chunk: int, start: int, end: int) -> bytes:
    """Return the record that says ``[start, end)`` was written."""
    return _record(b"w", chunk, start, end)


def failed_record(chunk: int, failures: int) -> bytes:
    """Return the record that says the hash was wrong ``failures`` times so far."""
    return _record(b"f", chunk, failures, 0)


def read_journal(journal: bytes) -> Spool | None:
    """Return the spool that ``journal`` describes; None if no whole record is in it."""
    spool: Spool | None = None
    for line in journal.split(b"\n"):
        record = _RECORD.fullmatch(line)
        if record is not None and f"{zlib.crc32(record[1]):08x}".encode() == record[6]:
            spool = _apply(spool, record)
    return spool


def _record(kind: bytes, chunk: int, first: int, second: int) -> bytes:
    body = b"%b %d %d %d" % (kind, chunk, first, second)
    return b"%b %08x\n" % (body, zlib.crc32(body))


def _apply(spool: Spool | None, record: re.Match[bytes]) -> Spool:
    chunk, first, second = int(record[3]), int(record[4]), int(record[5])
    ranges = spool.ranges if spool is not None else NOTHING
    failures = spool.failures if spool is not None else 0
    if record[2] == b"w":
        return Spool(chunk, ranges.add(first, second), failures)
    return Spool(chunk, ranges, first)
