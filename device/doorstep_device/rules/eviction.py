"""Eviction: what the doorbell gives up first when its card is full."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from doorstep_shared.ids import ClipId, EventId
from doorstep_shared.manifest import ClipKind

CACHE_MS: Final = 24 * 3600 * 1000
"""A clip that the service has stored stays for a day at most."""

MAX_WAITING_EVENTS: Final = 10_000
"""About 2 MB of log: a busy street for a week or two without a network."""


class Worth(IntEnum):
    """How long a clip is held on to; the least goes first."""

    STORED = 0  # the service has it
    MOTION = 1
    RING = 2


@dataclass(frozen=True, slots=True)
class KeptClip:
    """A finished clip on the card.

    Attributes:
        seq: Its manifest's number: which of two is older, whatever the clock did.
        size_bytes: What removing it frees.
    """

    clip: ClipId
    worth: Worth
    seq: int
    size_bytes: int


def decide_evictions(
    kept: Iterable[KeptClip], excess_bytes: int, *, sparing: Worth | None = None
) -> tuple[ClipId, ...]:
    """Return which clips to give up, in order, so that ``excess_bytes`` become free.

    Args:
        kept: All finished clips.
        excess_bytes: Zero or less asks for nothing.
        sparing: Clips worth this or more stay, even if less becomes free: no ring is given
            up for motion.
    """
    victims = []
    for clip in sorted(kept, key=lambda clip: (clip.worth, clip.seq)):
        if excess_bytes <= 0 or (sparing is not None and clip.worth >= sparing):
            break
        victims.append(clip.clip)
        excess_bytes -= clip.size_bytes
    return tuple(victims)


def decide_dropped_events(
    waiting: Sequence[tuple[EventId, ClipKind]], most: int
) -> tuple[EventId, ...]:
    """Return which of the ``waiting`` events to give up so that ``most`` stay.

    They come oldest first and go oldest first, motion before rings.
    """
    excess = len(waiting) - most
    by_worth = sorted(waiting, key=lambda entry: entry[1] is ClipKind.RING)
    return tuple(event for event, _ in by_worth[: max(excess, 0)])


def is_cache_over(stored_at_ms: int, now_ms: int) -> bool:
    """Return whether a clip stored at ``stored_at_ms`` has been kept for long enough.

    A clock that stepped back by more than that counts as long enough: it would otherwise
    keep a clip for as long as it stepped.
    """
    return abs(now_ms - stored_at_ms) >= CACHE_MS
