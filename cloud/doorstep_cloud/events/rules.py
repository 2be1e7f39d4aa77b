"""What an event means to the people who are told of it."""

from dataclasses import dataclass
from typing import Final

from doorstep_shared.ids import ClipId, DeviceId, EventId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.wire import Alert

MISSED_AFTER_MS: Final = 60_000
"""Nobody waits at a door longer than a minute: an older ring is one that was missed."""


@dataclass(frozen=True, slots=True)
class EventItem:
    """An event as lists and listeners show it.

    Attributes:
        at_ms: Unix milliseconds by the doorbell's clock.
        received_at_ms: Unix milliseconds by the service's clock.
        clip: The first clip that shows it; None before one is announced.
    """

    id: EventId
    kind: ClipKind
    device: DeviceId
    at_ms: int
    received_at_ms: int
    clock_synced: bool
    alert: Alert
    clip: ClipId | None

    @property
    def is_missed(self) -> bool:
        """Return whether this is a ring that came too late to open the door.

        A doorbell whose clock is not set yet gets the benefit of the doubt: a live
        ring shown as missed would leave a visitor standing.
        """
        late_ms = self.received_at_ms - self.at_ms
        return self.kind is ClipKind.RING and self.clock_synced and late_ms > MISSED_AFTER_MS
