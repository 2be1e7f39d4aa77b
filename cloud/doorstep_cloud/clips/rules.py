"""Which bytes of an age file are asked for: HTTP ranges (RFC 9110 sections 13 and 14)."""

import re
from dataclasses import dataclass
from typing import Final

from doorstep_cloud.store.errors import UnsatisfiableRangeError

# One range; several at once are answered with the whole, as section 14.2 allows.
_RANGE: Final = re.compile(r"bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{1,18})?|-\s*(\d{1,18}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Return how many bytes that is."""
        return self.end - self.start


def parse_range(header: str | None, size: int) -> Span | None:
    """Return the one range asked for of ``size`` bytes; None when the whole is to be sent.

    Raises:
        UnsatisfiableRangeError: No byte of it exists.
    """
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return _existing(max(0, size - int(suffix)), size, size)
    if last is not None and int(last) < int(first):
        return None
    return _existing(int(first), size if last is None else int(last) + 1, size)


def is_unchanged(if_none_match: str | None, etag: str) -> bool:
    """Return whether the caller has these very bytes already."""
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags


def is_range_wanted(if_range: str | None, etag: str) -> bool:
    """Return whether a range may be sent: the caller holds the rest of these very bytes."""
    return if_range is None or if_range.strip() == etag


def _existing(start: int, end: int, size: int) -> Span:
    if start >= size or start >= end:
        raise UnsatisfiableRangeError(size)
    return Span(start, min(end, size))
