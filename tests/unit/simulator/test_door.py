"""The door as a value: each fact turns it into the next, and lines say what it means."""

from functools import reduce

import pytest

from doorstep_simulator.door import Door
from doorstep_simulator.facts import Fact
from doorstep_simulator.words import say_fact


def fact(event: str, at_s: float = 0.0, **details: str) -> Fact:
    return Fact(event, at_s, 1_000, dict(details))


def door_after(*facts: Fact) -> Door:
    return reduce(Door.feed, facts, Door())


RING = (
    fact("power_restored"),
    fact("broker_connected", connection="control"),
    fact("button_pressed", 10.0),
    fact("ring_pressed", 10.002, event_id="r"),
    fact("light", 10.003, state="recording"),
)


def test_a_ring_counts_from_the_press_to_its_acknowledgement() -> None:
    door = door_after(*RING)
    assert (door.is_on, door.is_connected, door.is_recording) == (True, True, True)
    assert door.waiting_events == 1
    assert door.events["r"].took_ms is None
    door = door.feed(fact("event_acked", 10.030, event_id="r"))
    assert door.waiting_events == 0
    assert door.events["r"].took_ms == pytest.approx(30)


def test_a_second_acknowledgement_changes_nothing() -> None:
    once = door_after(*RING, fact("event_acked", 10.030, event_id="r"))
    assert once.feed(fact("event_acked", 15.0, event_id="r")) == once


def test_an_acknowledgement_of_what_was_not_seen_is_passed_over() -> None:
    assert door_after(fact("event_acked", event_id="of an earlier run")) == Door()


def test_a_ring_long_after_a_press_is_another_fingers() -> None:
    door = door_after(fact("button_pressed", 1.0), fact("ring_pressed", 5.0, event_id="r"))
    assert door.events["r"].began_s == 5.0


@pytest.mark.parametrize(
    ("told", "state", "waiting"),
    [
        ([], "waiting", 1),
        (["clip_announced"], "sending", 1),
        (["clip_announced", "clip_stored"], "stored", 0),
        (["clip_refused"], "refused", 0),
    ],
)
def test_a_clip_waits_until_it_is_stored_or_refused(
    told: list[str], state: str, waiting: int
) -> None:
    facts = [fact(event, clip_id="c") for event in ("clip_finished", *told)]
    door = door_after(*facts)
    assert door.clips == {"c": state}
    assert door.waiting_clips == waiting


def test_motion_lasts_until_it_ends() -> None:
    began = door_after(fact("motion_began", event_id="m"))
    assert began.is_moving
    assert began.events["m"].kind == "motion"
    assert not began.feed(fact("motion_ended", event_id="m")).is_moving


def test_without_power_nothing_shines_or_connects_and_what_waits_still_waits() -> None:
    door = door_after(*RING, fact("clip_finished", clip_id="c"), fact("power_cut"))
    assert (door.is_on, door.is_connected, door.is_recording) == (False, False, False)
    assert (door.waiting_events, door.waiting_clips) == (1, 1)


def test_the_bulk_connection_alone_is_no_connection() -> None:
    assert not door_after(fact("broker_connected", connection="bulk")).is_connected
    door = door_after(*RING, fact("broker_lost", connection="bulk"))
    assert door.is_connected
    assert not door.feed(fact("broker_lost", connection="control")).is_connected


def test_trouble_is_told_and_gone_with_a_new_start() -> None:
    door = door_after(fact("camera_failed", reason="no picture"))
    assert door.trouble == "the camera failed: no picture"
    assert door.feed(fact("power_restored")).trouble == ""
    assert door_after(fact("doorbell_stopped")).trouble == "it stopped by itself"


def test_cable_and_film_are_followed() -> None:
    assert door_after(fact("network", state="off")).is_cut
    assert not door_after(fact("network", state="off"), fact("network", state="on")).is_cut
    assert door_after(fact("film_over")).is_film_over


def test_an_unknown_fact_changes_nothing() -> None:
    assert door_after(fact("something_new")) == Door()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (fact("button_pressed"), "button pressed"),
        (fact("network", state="off"), "network cut"),
        (fact("broker_connected", connection="control"), "doorbell connected"),
        (fact("broker_connected", connection="bulk"), ""),
        (fact("clip_stored", clip_id="01a202d7-b47e-70c0"), "clip 01a202d7-b47e…: stored"),
        (fact("camera_failed", reason="no picture"), "the camera failed: no picture"),
        (fact("frame_scored"), ""),
    ],
)
def test_facts_are_said_in_words(told: Fact, words: str) -> None:
    said = say_fact(told, door_after(told))
    assert said.startswith(words)
    assert bool(said) == bool(words)


def test_an_acknowledgement_is_said_once() -> None:
    first, second = (fact("event_acked", at_s, event_id="r") for at_s in (10.030, 15.0))
    door = door_after(*RING, first)
    assert say_fact(first, door) == "ring: stored, confirmed to the doorbell 30 ms after the press"
    assert say_fact(second, door.feed(second)) == ""
