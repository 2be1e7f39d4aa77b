"""The records of an event log: how they are written, and found again around damage.

A record, numbers big-endian:

    length    u32   of the JSON
    crc32c    u32   of the JSON
    JSON            {"put": {"kind": …, "event": …}} or {"acked": [id, …]}

A record that is damaged costs itself and no other: the next one is looked for, byte by
byte, where a body could begin. No part of a record passes for one. A head begins with two
zero bytes, since a body is short, and JSON holds none, whoever chose the words in it; a
head of bytes that mean something else would need a right CRC as well. And if chance made
a record of garbage: it is an event of this doorbell's under an id nobody drew, or the
acknowledgement of one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from doorstep_shared.crc32c import crc32c
from doorstep_shared.fields import EventIdField
from doorstep_shared.ids import EventId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Event

_HEAD_BYTES: Final = 8
_MAX_JSON_BYTES: Final = 8 * 1024
# How the JSON of every record begins.
_OPENING: Final = b'{"'
_ACKS_PER_RECORD: Final = 64
# 64 ids are 2.5 KB of JSON. A cut tears one append, which is one record.
LONGEST_APPEND_BYTES: Final = 3 * 1024
# Bodies in a row are checked once for each byte at most. What asks for much more is
# garbage full of heads, and on a small Pi a check of 8 KiB takes 5 ms.
_CHECKS_PER_BYTE: Final = 4


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Put(_Entry):
    """An event that the log took."""

    kind: ClipKind
    event: Event


class Record(_Entry):
    """One line of the log's story: an event came, or some were acknowledged."""

    put: Put | None = None
    acked: tuple[EventIdField, ...] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one log holds.

    Attributes:
        records: The whole ones, in order.
        is_torn: Whether it ends in what a cut left of one append.
        is_damaged: Whether it holds, somewhere else or more of, what nobody here can read.
    """

    records: tuple[Record, ...]
    is_torn: bool
    is_damaged: bool


def acked_records(events: list[EventId]) -> Iterator[Record]:
    """Yield the records that acknowledge ``events``, each short enough for one append."""
    for start in range(0, len(events), _ACKS_PER_RECORD):
        yield Record(acked=tuple(events[start : start + _ACKS_PER_RECORD]))


def encode_records(records: Iterable[Record]) -> bytes:
    """Return the bytes that are those ``records``."""
    return b"".join(map(_encode, records))


def read_records(data: bytes) -> Reading:
    """Return the records in ``data``, passing over what is none; in time linear in its length."""
    records: list[Record] = []
    is_damaged = False
    read_to = 0
    for start, body in _whole_bodies(data):
        is_damaged |= start != read_to
        read_to = start + _HEAD_BYTES + len(body)
        if (record := _decode(body)) is not None:
            records.append(record)
        else:
            is_damaged = True  # or a newer agent's
    left_bytes = len(data) - read_to
    is_torn = 0 < left_bytes <= LONGEST_APPEND_BYTES
    return Reading(tuple(records), is_torn, is_damaged or left_bytes > LONGEST_APPEND_BYTES)


def _encode(record: Record) -> bytes:
    data = record.model_dump_json(exclude_none=True).encode()
    return len(data).to_bytes(4, "big") + crc32c(data).to_bytes(4, "big") + data


def _decode(body: bytes) -> Record | None:
    """Return the record of that body; None if it says nothing that is known here."""
    try:
        record = Record.model_validate_json(body)
    except ValidationError:
        return None
    return None if record == Record() else record


def _whole_bodies(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield where each record begins whose length and CRC hold, and its body."""
    spare_bytes = _CHECKS_PER_BYTE * len(data)
    at = data.find(_OPENING, _HEAD_BYTES)
    while at >= 0 and spare_bytes > 0:
        body = _body_at(data, at)
        if body and crc32c(body) == int.from_bytes(data[at - 4 : at], "big"):
            yield at - _HEAD_BYTES, body
            at = data.find(_OPENING, at + len(body) + _HEAD_BYTES)
        else:
            spare_bytes -= len(body)
            at = data.find(_OPENING, at + 1)


def _body_at(data: bytes, at: int) -> bytes:
    """Return the body that a head before ``at`` would announce there; empty if it is no head."""
    length = int.from_bytes(data[at - _HEAD_BYTES : at - 4], "big")
    if length > _MAX_JSON_BYTES or at + length > len(data):
        return b""
    return data[at : at + length]
