"""A doorbell's facts as lines a person follows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.table import Table

from doorstep_simulator.door import Door
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.facts import Fact
from doorstep_simulator.report import DemoReport, spoken_length, spoken_ms, spoken_size


@contextmanager
def narrated(doorbell: Doorbell, tell: Callable[[str], None]) -> Iterator[None]:
    """Tell what happens at ``doorbell`` while the block runs."""

    def hear(fact: Fact) -> None:
        if words := say_fact(fact, doorbell.door):
            tell(words)

    with doorbell.facts.heard_by(hear):
        yield


def print_report(report: DemoReport, console: Console | None = None) -> None:
    """Print the clips and the times of a demo; on stdout, without a console."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("clip", "length", "before it", "pictures", "sealed", "at the service"):
        table.add_column(column, no_wrap=True)
    for clip in report.clips:
        table.add_row(
            clip.kind.value,
            spoken_length(clip.duration_s),
            spoken_length(clip.pre_roll_s),
            str(clip.frames),
            spoken_size(clip.size_bytes),
            "stored, acknowledged" if clip.is_acked else "not acknowledged",
        )
    console = console or Console(highlight=False)
    console.print(table)
    times = {
        "until it was stored and confirmed to the doorbell": report.ring_to_cloud_ms,
        "to your listener": report.ring_to_listener_ms,
    }
    for what, ms in times.items():
        if ms is not None:
            console.print(f"From the press {what}: {spoken_ms(ms)}")


def say_fact(fact: Fact, door: Door) -> str:
    """Return what ``fact`` means; empty for one that only a program needs.

    Args:
        fact: What happened.
        door: The door after it.
    """
    say = _WORDS.get(fact.event)
    return "" if say is None else say(fact, door)


def _plain(words: str) -> Callable[[Fact, Door], str]:
    return lambda _fact, _door: words


def _acked(fact: Fact, door: Door) -> str:
    event = door.events.get(fact.text("event_id"))
    # An acknowledgement may come twice: for the event and for its repetition.
    if event is None or event.took_ms is None or event.acked_s != fact.arrived_s:
        return ""
    since = "the press" if event.kind == "ring" else "it was noticed"
    return (
        f"{event.kind}: stored, confirmed to the doorbell {spoken_ms(event.took_ms)} after {since}"
    )


def _control(words: str) -> Callable[[Fact, Door], str]:
    return lambda fact, _: words if fact.text("connection") == "control" else ""


def _clip(words: str) -> Callable[[Fact, Door], str]:
    return lambda fact, _: f"clip {fact.text('clip_id')[:13]}…: {words}"


def _network(fact: Fact, _: Door) -> str:
    return "network cut" if fact.text("state") == "off" else "network mended"


def _trouble(_: Fact, door: Door) -> str:
    return door.trouble


_WORDS: Final[Mapping[str, Callable[[Fact, Door], str]]] = {
    "power_restored": _plain("doorbell switched on"),
    "power_cut": _plain("doorbell without power"),
    "doorbell_stopped": _plain("the doorbell stopped by itself and is started again"),
    "network": _network,
    "broker_connected": _control("doorbell connected"),
    "broker_lost": _control("doorbell not connected: what happens waits on its card"),
    "button_pressed": _plain("button pressed"),
    "motion_began": _plain("motion: recording, sealed while it is written"),
    "event_acked": _acked,
    "clip_finished": _clip("complete on the doorbell's card"),
    "clip_stored": _clip("stored, signed receipts are back"),
    "clip_refused": _clip("refused by the service"),
    "camera_failed": _trouble,
    "camera_stalled": _trouble,
    "camera_changed": _trouble,
    "camera_back": _plain("the camera is back"),
    "recording_failed": _trouble,
    "part_failed": _trouble,
    "part_crashed": _trouble,
}
