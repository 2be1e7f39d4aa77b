"""The outbox: events and clips promised to the service; they survive power loss."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from doorstep_device.ports.disk import Disk
from doorstep_shared.age_keys import Recipient
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import ClipId, DeviceId, EventId, HouseholdId, Random
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName
from doorstep_shared.signing import Signed, SigningKey, VerifyKey
from doorstep_shared.wire import Announcement, Event


class ClipGoneError(RefusedError):
    """The outbox holds no such clip (any more)."""


@dataclass(frozen=True, slots=True)
class OutboxKeys:
    """Whose outbox it is.

    Attributes:
        device: This doorbell.
        manifest_key: Signs its manifests.
        receipt_key: The service's, pinned at enrolment; None before that.
    """

    device: DeviceId
    manifest_key: SigningKey
    receipt_key: VerifyKey | None = None


@dataclass(frozen=True, slots=True)
class Sealing:
    """Whom clips are sealed to: from a verified statement that lists this doorbell's keys.

    Attributes:
        household: Whose statement it is.
        epoch: Its number, from 1.
        recipient: The epoch's key.
    """

    household: HouseholdId
    epoch: int
    recipient: Recipient


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the outbox that nobody here can read; it is kept as it is.

    Attributes:
        path: Where it lies, under the doorbell's root.
        fact: What is wrong, one sentence.
    """

    path: str
    fact: str


@dataclass(frozen=True, slots=True)
class PendingEvent:
    """An event that the service has not acknowledged yet."""

    kind: ClipKind
    event: Event


@dataclass(frozen=True, slots=True)
class PendingClip:
    """A finished clip that the service has not stored whole yet.

    Attributes:
        clip: Which.
        manifest: What it consists of.
        is_announced: Whether the service has acknowledged its manifest since `Outbox.open`.
        missing: Objects without a receipt, the smallest first: thumb, details, file.
    """

    clip: ClipId
    manifest: Manifest
    is_announced: bool
    missing: tuple[ObjectName, ...]


@dataclass(frozen=True, slots=True)
class Usage:
    """What the outbox holds, as health tells it.

    Attributes:
        waiting_events: Events without an ack.
        waiting_clips: Clips not stored whole yet, the one being recorded included.
        waiting_bytes: Their bytes on the disk.
        cached_clips: Clips stored by the service and kept here for up to a day.
        total_bytes: All clips' bytes on the disk.
        free_bytes: What the disk has left.
        dropped_clips: Clips given up for want of room since `Outbox.open`.
        dropped_events: Events given up, likewise.
    """

    waiting_events: int
    waiting_clips: int
    waiting_bytes: int
    cached_clips: int
    total_bytes: int
    free_bytes: int
    dropped_clips: int
    dropped_events: int


class Outbox:
    """Events and clips on the doorbell's own disk.

    Synchronous and for one thread. Methods that write raise the disk's errors; what was
    durable before such an error still is.
    """

    @classmethod
    def open(
        cls, disk: Disk, keys: OutboxKeys, *, random: Random, now_ms: int, cap_bytes: int
    ) -> "Outbox":
        """Return the outbox under ``outbox/``, made if missing.

        Rebuilds the index, ends recordings that were cut, and forgets what a cut left half
        removed. What it cannot read it keeps and lists in `problems`.
        """
        raise NotImplementedError

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found unreadable; kept, and for a person to look at."""
        raise NotImplementedError

    def put_event(self, kind: ClipKind, event: Event) -> None:
        """Keep an event until it is acknowledged; durable on return. Repeating is harmless."""
        raise NotImplementedError

    def pending_events(self) -> tuple[PendingEvent, ...]:
        """Return the events without an ack, rings first, each kind oldest first."""
        raise NotImplementedError

    def mark_events_acked(self, events: Iterable[EventId]) -> None:
        """Forget events the service has committed; unknown ones are passed over."""
        raise NotImplementedError

    def pending_clips(self) -> tuple[PendingClip, ...]:
        """Return finished clips that are not stored whole, rings first, each kind oldest first."""
        raise NotImplementedError

    def announcement(self, clip: ClipId) -> Announcement:
        """Return the body of ``ev/clip``.

        Raises:
            ClipGoneError: No such finished clip.
        """
        raise NotImplementedError

    def read_payload(self, clip: ClipId, name: ObjectName, offset: int, size: int) -> bytes:
        """Return bytes of an object's payload, fewer only at its end.

        Raises:
            ClipGoneError: No such finished clip or object; it may have been evicted.
        """
        raise NotImplementedError

    def mark_announced(self, clip: ClipId) -> None:
        """Note that the service knows the clip; until the next `open` only (asking twice is
        harmless). Unknown clips are passed over.
        """
        raise NotImplementedError

    def mark_receipt(self, receipt: Signed, now_ms: int) -> ClipId | None:
        """Note that the service has stored an object; durable on return.

        Returns:
            The clip if all its objects are now stored, so that it only stays as cache.

        Raises:
            WrongSignatureError: Not under the pinned key, or none is pinned.
            BadMessageError: Not a receipt, or for other bytes than the manifest's.
        """
        raise NotImplementedError

    def mark_refused(self, clip: ClipId, reason: str) -> None:
        """Note that the service will never take the clip; durable. It is no longer pending."""
        raise NotImplementedError

    def tidy(self, now_ms: int) -> None:
        """Forget clips stored a day ago, keep the byte cap, end what could not be ended before.

        To be called every minute or so.
        """
        raise NotImplementedError

    def usage(self) -> Usage:
        """Return what the outbox holds now."""
        raise NotImplementedError
