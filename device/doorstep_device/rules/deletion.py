"""Deletion: which clips began until a time, by clocks that may never have been set."""

from collections.abc import Iterable
from dataclasses import dataclass

from doorstep_shared.ids import ClipId


@dataclass(frozen=True, slots=True)
class Begun:
    """A clip and when it began.

    Attributes:
        start_ms: Wall time of its first frame, Unix milliseconds.
        clock_synced: Whether that clock was set from outside.
    """

    clip: ClipId
    start_ms: int
    clock_synced: bool


def decide_begun_until(clips: Iterable[Begun], until_ms: int) -> tuple[ClipId, ...]:
    """Return which of ``clips`` began until ``until_ms``.

    They come in the order they were recorded in, and that is believed before a clock that
    was never set: such a clip began no sooner than the one before it whose clock was.
    """
    found = []
    least_ms = 0
    for clip in clips:
        if clip.clock_synced:
            least_ms = clip.start_ms
        if max(clip.start_ms, least_ms) <= until_ms:
            found.append(clip.clip)
    return tuple(found)
