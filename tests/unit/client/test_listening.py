"""Hearing the bell over any break of the line, each ring once."""

from collections.abc import Iterator
from typing import cast

import pytest

from doorstep_client import listening
from doorstep_client.errors import ServiceUnreachableError, SignedOutError
from doorstep_client.household import Household
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import EventId, draw_event_id
from tests.people import NOW_MS, random_from

Said = str


def event(number: int) -> tuple[EventId, Said]:
    """Return an event's id, and how the service says it."""
    drawn = draw_event_id(NOW_MS + number, random_from(f"event {number}"))
    data = (
        f'{{"id": "{drawn}", "kind": "ring", "device": "00-{"a" * 26}", '
        '"at": "2026-11-22T10:00:00Z", "received_at": "2026-11-22T10:00:01Z", '
        '"clock_synced": true, "alert": "now", "is_missed": false, "clip": null}'
    )
    return drawn, data


class Script:
    """A household whose service says what it is told to, line after line.

    Attributes:
        asked: With which last id each line began.
    """

    def __init__(self, *lines: list[Said | Exception]) -> None:
        self.asked: list[str | None] = []
        self._lines = iter(lines)

    def ask(self, begin: object) -> object:
        assert callable(begin)
        return begin(self)

    def stream(self, path: str, last_id: str | None) -> Iterator[Said]:
        assert path == "/v1/events/stream"
        self.asked.append(last_id)
        line = next(self._lines, None)
        if line is None:
            raise _EndError
        for said in line:
            if isinstance(said, Exception):
                raise said
            yield said


class _EndError(Exception):
    """The script is over."""


OPEN: Said = ""
BROKEN = ServiceUnreachableError("the line broke")


def heard(script: Script) -> tuple[list[EventId], list[float], int]:
    """Return what was heard until the script is over, each pause, and how often it opened."""
    found: list[EventId] = []
    pauses: list[float] = []
    opened: list[None] = []
    stream = listening.events(
        cast("Household", script),
        on_open=lambda: opened.append(None),
        on_break=lambda _, __: None,
        wait=pauses.append,
    )
    with pytest.raises(_EndError):
        found.extend(item.id for item in stream)
    return found, pauses, len(opened)


def heard_ids(script: Script) -> list[EventId]:
    found: list[EventId] = []
    stream = listening.events(
        cast("Household", script),
        on_open=lambda: None,
        on_break=lambda _, __: None,
        wait=lambda _: None,
    )
    while True:
        try:
            found.append(next(stream).id)
        except _EndError:
            return found


def test_events_come_in_the_order_they_were_said() -> None:
    (one, first), (two, second) = event(1), event(2)
    assert heard_ids(Script([OPEN, first, second])) == [one, two]


def test_after_a_break_it_says_what_it_heard_last() -> None:
    (one, first), (two, second) = event(1), event(2)
    script = Script([OPEN, first, BROKEN], [OPEN, second])
    assert heard_ids(script) == [one, two]
    assert script.asked == [None, one, two]


def test_what_is_said_twice_is_heard_once() -> None:
    (one, first), (two, second) = event(1), event(2)
    assert heard_ids(Script([OPEN, first], [OPEN, first, second])) == [one, two]


def test_it_tries_again_ever_more_slowly_until_it_is_heard() -> None:
    _, pauses, opened = heard(Script([BROKEN], [BROKEN], [BROKEN], [BROKEN], [BROKEN], [OPEN]))
    assert pauses == [1, 2, 4, 8, 10, 1]
    assert opened == 1


def test_a_service_that_does_not_know_us_ends_it() -> None:
    stream = listening.events(
        cast("Household", Script([SignedOutError("signed out")])),
        on_open=lambda: None,
        on_break=lambda _, __: None,
        wait=lambda _: None,
    )
    with pytest.raises(SignedOutError):
        next(stream)


@pytest.mark.parametrize("data", ["", "{}", "[]", "x"])
def test_what_is_no_event_is_told(data: str) -> None:
    stream = listening.events(
        cast("Household", Script([OPEN, data])),
        on_open=lambda: None,
        on_break=lambda _, __: None,
        wait=lambda _: None,
    )
    with pytest.raises(BadMessageError):
        next(stream)
