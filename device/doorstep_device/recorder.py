"""The recorder: from packets and events to sealed clips in the outbox."""

from dataclasses import dataclass

from doorstep_device.outbox import Outbox, Sealing
from doorstep_device.ports.camera import Packet, VideoFormat
from doorstep_device.rules.motion import Motion
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import ClipId, EventId, Random


@dataclass(frozen=True, slots=True)
class Stamp:
    """One moment on both clocks.

    Attributes:
        at_us: `Clock.monotonic_us`, which packets and frames are stamped with.
        now_ms: Wall time at that moment, Unix milliseconds.
        clock_synced: Whether the wall time was set from outside.
    """

    at_us: int
    now_ms: int
    clock_synced: bool


@dataclass(frozen=True, slots=True)
class RecordingFailed:
    """A clip that ended early because the disk did not take it.

    Attributes:
        clip: Which; what is whole of it stays in the outbox.
        error: Why.
    """

    clip: ClipId
    error: DoorstepError


class Recorder:
    """Keeps the last seconds, and records when something happens.

    Synchronous and for one thread; it has no clock. Feed it every packet in order. Disk
    errors while recording end the clip and are kept in `take_failures`: they never reach the
    caller of `feed`.
    """

    def __init__(
        self, outbox: Outbox, video: VideoFormat, *, random: Random, pre_roll_s: float = 6.0
    ) -> None:
        raise NotImplementedError

    @property
    def is_recording(self) -> bool:
        """Whether a clip is being recorded now: what the status light shows."""
        raise NotImplementedError

    def allow(self, sealing: Sealing | None) -> None:
        """Seal later clips like this; None ends the clip under way and records no more."""
        raise NotImplementedError

    def feed(self, packet: Packet) -> tuple[ClipId, ...]:
        """Take the next packet; return the clips that this finished."""
        raise NotImplementedError

    def saw(self, motion: Motion, at_us: int) -> None:
        """Take the motion rule's decision on the frame of ``at_us``, for details and thumbnail."""
        raise NotImplementedError

    def ring(self, event: EventId, stamp: Stamp) -> None:
        """Record around a ring, or make the clip under way a ring clip."""
        raise NotImplementedError

    def motion_began(self, event: EventId, stamp: Stamp) -> None:
        """Record from before ``stamp`` until after `motion_ended`."""
        raise NotImplementedError

    def motion_ended(self, at_us: int) -> None:
        """Let the post-roll begin, unless a ring holds the clip open for longer."""
        raise NotImplementedError

    def tick(self, at_us: int) -> tuple[ClipId, ...]:
        """Take the time when packets may have stopped; return the clips that this finished.

        To be called every second; with packets flowing, `feed` has done it all before.
        """
        raise NotImplementedError

    def stop(self) -> tuple[ClipId, ...]:
        """End the clip under way with what has come; for a camera that stops."""
        raise NotImplementedError

    def take_failures(self) -> tuple[RecordingFailed, ...]:
        """Return what went wrong since the last call."""
        raise NotImplementedError
