"""Which bytes of an object are held: a merged set of half-open ranges."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Span = tuple[int, int]
"""``(start, end)`` in bytes, end excluded."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """Sorted, disjoint, non-touching spans; `of` and `add` keep them so."""

    spans: tuple[Span, ...] = ()

    @classmethod
    def of(cls, spans: Iterable[Span]) -> "Ranges":
        """Return the union of ``spans`` in any order; empty ones count nothing."""
        merged: list[Span] = []
        for start, end in sorted(span for span in spans if span[0] < span[1]):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return cls(tuple(merged))

    def add(self, start: int, end: int) -> "Ranges":
        """Return these ranges and ``[start, end)``."""
        return Ranges.of((*self.spans, (start, end)))

    def union(self, other: "Ranges") -> "Ranges":
        """Return what either of the two holds."""
        return Ranges.of((*self.spans, *other.spans))

    def covers(self, start: int, end: int) -> bool:
        """Return whether all of ``[start, end)`` is held."""
        return any(first <= start and end <= last for first, last in self.spans)

    @property
    def size(self) -> int:
        """Return how many bytes are held."""
        return sum(end - start for start, end in self.spans)

    @property
    def upto(self) -> int:
        """Return the end of what is held without a gap from byte 0."""
        return self.spans[0][1] if self.spans and self.spans[0][0] == 0 else 0


NOTHING: Final = Ranges()
