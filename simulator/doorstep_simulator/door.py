"""The door as it stands: what a doorbell's facts add up to.

A value that each fact turns into the next: the panel shows it, and whoever waits for a
clip to be stored looks here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from doorstep_simulator.facts import Fact

# A press becomes a ring within milliseconds; one that came longer before was another's.
_PRESS_TO_RING_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SeenEvent:
    """A ring or motion, as far as it has come.

    Attributes:
        event_id: Its id.
        kind: ``ring`` or ``motion``.
        at_ms: The doorbell's wall time, Unix milliseconds.
        began_s: When the finger pressed, or the motion was noticed; monotonic.
        acked_s: When the doorbell knew that the service has it; monotonic.
    """

    event_id: str
    kind: str
    at_ms: int
    began_s: float
    acked_s: float | None = None

    @property
    def took_ms(self) -> float | None:
        """Milliseconds until the service was known to have it; None before."""
        return None if self.acked_s is None else (self.acked_s - self.began_s) * 1000


@dataclass(frozen=True, slots=True)
class Door:
    """Everything seen so far.

    Attributes:
        is_on: Whether the doorbell has power and runs.
        is_connected: Whether it reaches the broker.
        seeking_s: Since when it seeks the broker, or has sought it last; monotonic.
        is_cut: Whether its network was cut by hand.
        is_recording: What its status light shows.
        is_moving: Whether something moves before the camera.
        is_film_over: Whether the film has been shown to its end.
        pressed_s: When the button was pressed last, monotonic.
        trouble: The last thing that went wrong; empty if nothing has.
        events: By id, in the order they happened.
        clips: Ids of finished clips in that order, and what has become of each:
            ``waiting``, ``sending``, ``stored`` or ``refused``.
    """

    is_on: bool = False
    is_connected: bool = False
    seeking_s: float = 0.0
    is_cut: bool = False
    is_recording: bool = False
    is_moving: bool = False
    is_film_over: bool = False
    pressed_s: float | None = None
    trouble: str = ""
    events: Mapping[str, SeenEvent] = field(default_factory=dict)
    clips: Mapping[str, str] = field(default_factory=dict)

    @property
    def waiting_events(self) -> int:
        """How many events the service is not known to have."""
        return sum(event.acked_s is None for event in self.events.values())

    @property
    def waiting_clips(self) -> int:
        """How many finished clips the service is not known to have, or not to want."""
        return sum(state in {"waiting", "sending"} for state in self.clips.values())

    def feed(self, fact: Fact) -> "Door":
        """Return the door after ``fact``; one it does not know changes nothing."""
        meaning = _MEANINGS.get(fact.event)
        return self if meaning is None else meaning(self, fact)


def _press(door: Door, fact: Fact) -> Door:
    return replace(door, pressed_s=fact.arrived_s)


def _ring(door: Door, fact: Fact) -> Door:
    began_s = fact.arrived_s
    if door.pressed_s is not None and began_s - door.pressed_s < _PRESS_TO_RING_S:
        began_s = door.pressed_s
    return _begun(door, fact, "ring", began_s)


def _motion(door: Door, fact: Fact) -> Door:
    return _begun(replace(door, is_moving=True), fact, "motion", fact.arrived_s)


def _begun(door: Door, fact: Fact, kind: str, began_s: float) -> Door:
    event = SeenEvent(fact.text("event_id"), kind, fact.at_ms, began_s)
    return replace(door, events={**door.events, event.event_id: event})


def _acked(door: Door, fact: Fact) -> Door:
    event = door.events.get(fact.text("event_id"))
    if event is None or event.acked_s is not None:
        return door
    return replace(
        door, events={**door.events, event.event_id: replace(event, acked_s=fact.arrived_s)}
    )


def _clip(state: str) -> Callable[[Door, Fact], Door]:
    """Return what it means that a clip has come to ``state``."""

    def meaning(door: Door, fact: Fact) -> Door:
        return replace(door, clips={**door.clips, fact.text("clip_id"): state})

    return meaning


def _on(door: Door, fact: Fact) -> Door:
    return replace(door, is_on=True, seeking_s=fact.arrived_s, is_film_over=False, trouble="")


def _off(door: Door, fact: Fact) -> Door:
    off = replace(door, is_on=False, is_connected=False, is_recording=False, is_moving=False)
    return _trouble("it stopped by itself")(off, fact) if fact.event == "doorbell_stopped" else off


def _trouble(what: str) -> Callable[[Door, Fact], Door]:
    """Return what it means that something went wrong."""

    def meaning(door: Door, fact: Fact) -> Door:
        reason = fact.text("reason")
        return replace(door, trouble=f"{what}: {reason}" if reason else what)

    return meaning


def _connection(*, is_connected: bool) -> Callable[[Door, Fact], Door]:
    def meaning(door: Door, fact: Fact) -> Door:
        # Rings travel on the control connection; it stands for both.
        if fact.text("connection") != "control":
            return door
        seeking_s = door.seeking_s if is_connected else fact.arrived_s
        return replace(door, is_connected=is_connected, seeking_s=seeking_s)

    return meaning


def _network(door: Door, fact: Fact) -> Door:
    return replace(door, is_cut=fact.text("state") == "off", seeking_s=fact.arrived_s)


def _light(door: Door, fact: Fact) -> Door:
    return replace(door, is_recording=fact.text("state") == "recording")


_MEANINGS: Final[Mapping[str, Callable[[Door, Fact], Door]]] = {
    "power_restored": _on,
    "power_cut": _off,
    "doorbell_stopped": _off,
    "agent_stopped": _off,
    "network": _network,
    "broker_connected": _connection(is_connected=True),
    "broker_lost": _connection(is_connected=False),
    "button_pressed": _press,
    "ring_pressed": _ring,
    "motion_began": _motion,
    "motion_ended": lambda door, _: replace(door, is_moving=False),
    "light": _light,
    "film_over": lambda door, _: replace(door, is_film_over=True),
    "event_acked": _acked,
    "clip_finished": _clip("waiting"),
    "clip_announced": _clip("sending"),
    "clip_stored": _clip("stored"),
    "clip_refused": _clip("refused"),
    "camera_failed": _trouble("the camera failed"),
    "camera_stalled": _trouble("the camera stalled"),
    "camera_changed": _trouble("the camera changed"),
    "recording_failed": _trouble("a recording failed"),
    "part_failed": _trouble("a part failed and is started again"),
    "part_crashed": _trouble("a part crashed and is started again"),
}
