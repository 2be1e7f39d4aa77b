"""The way of a ring or a motion from the door to its owner, station by station."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from doorstep_client.clips import ClipItem, EventItem
from doorstep_simulator.facts import Fact, FactLog
from doorstep_simulator.report import Step, Where

_EVENT_STATIONS: Final = {
    "motion_began": ("the motion rule decides", Where.DOORBELL),
    "ring_pressed": ("the doorbell takes it for a ring", Where.DOORBELL),
    "event_stored": ("durable on the doorbell's card", Where.DOORBELL),
    "event_published": ("handed to the broker", Where.BROKER),
    "event_acked": ("stored, confirmed to the doorbell", Where.DOORBELL),
}
_CLIP_STATIONS: Final = {
    "clip_finished": ("the clip is complete, sealed, its manifest signed", Where.DOORBELL),
    "clip_announced": ("the service has checked the manifest", Where.SERVICE),
    "clip_stored": ("stored, confirmed by signed receipts", Where.DOORBELL),
}

# A clip that nobody fetched for longer than this was not waited for: when it was opened says
# nothing about its way.
_AT_ONCE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Moments:
    """Times measured outside the doorbell.

    Attributes:
        heard_s: When each event reached the listener, monotonic, by event id.
        opened_s: When the clip was fetched, checked and open, monotonic.
        wall_ms: Wall time less monotonic time of this process, in milliseconds.
    """

    heard_s: Mapping[str, float]
    opened_s: float
    wall_ms: float

    def at_s(self, moment: datetime) -> float:
        """Return a wall time of this machine on this process's monotonic clock."""
        return (moment.timestamp() * 1000 - self.wall_ms) / 1000


def steps_of(
    clip: ClipItem, event: EventItem, facts: FactLog, moments: Moments
) -> tuple[Step, ...]:
    """Return the way of a clip and the event it is known by, the first step at 0 ms.

    All times are true ones, at whatever pace the film was shown.
    """
    seen = [
        *_stations(facts, _EVENT_STATIONS, "event_id", event.id),
        *_stations(facts, _CLIP_STATIONS, "clip_id", clip.id),
        (moments.at_s(event.received_at), "the service has received it", Where.SERVICE),
    ]
    stored = facts.first("clip_stored", clip_id=clip.id)
    if stored is not None and moments.opened_s - stored.arrived_s <= _AT_ONCE_S:
        opened = "fetched, checked and opened with the household's key"
        seen.append((moments.opened_s, opened, Where.YOU))
    if (heard_s := moments.heard_s.get(event.id)) is not None:
        seen.append((heard_s, f"you hear of the {event.kind.value}", Where.YOU))
    if (uploaded := facts.first("object_uploaded", clip_id=clip.id, object="file")) is not None:
        seen.append((uploaded.arrived_s, "the sealed video has arrived", Where.SERVICE))
    if (pressed := press_of(event.id, facts)) is not None:
        seen.append((pressed.arrived_s, "a finger presses the button", Where.DOORBELL))
    seen.sort(key=lambda station: station[0])
    return tuple(Step(name, (at_s - seen[0][0]) * 1000, where) for at_s, name, where in seen)


def press_of(event_id: str, facts: FactLog) -> Fact | None:
    """Return the press that became the ring ``event_id``; None for other events."""
    ring = facts.first("ring_pressed", event_id=event_id)
    if ring is None:
        return None
    before = [fact for fact in facts.all("button_pressed") if fact.arrived_s <= ring.arrived_s]
    return before[-1] if before else None


def confirmed_ms(event_id: str, facts: FactLog) -> float | None:
    """Return how long after its press the doorbell knew that the ring is stored.

    Both ends are measured here, by one clock. The service has committed it a little before.
    """
    pressed, acked = press_of(event_id, facts), facts.first("event_acked", event_id=event_id)
    if pressed is None or acked is None:
        return None
    return (acked.arrived_s - pressed.arrived_s) * 1000


def _stations(
    facts: FactLog, stations: Mapping[str, tuple[str, Where]], id_name: str, wanted: str
) -> list[tuple[float, str, Where]]:
    return [
        (fact.arrived_s, *stations[name])
        for name in stations
        if (fact := facts.first(name, **{id_name: wanted})) is not None
    ]
