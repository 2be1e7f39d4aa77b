"""Hearing the bell: events as they happen, over any break of the line."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from doorstep_client.clips import EventItem, read_event
from doorstep_client.errors import ServiceUnreachableError
from doorstep_client.household import Household
from doorstep_client.service import Service

# Ten seconds after the line broke a person begins to miss rings.
MAX_WAIT_S: Final = 10.0


def events(
    household: Household,
    *,
    on_open: Callable[[], None],
    on_break: Callable[[ServiceUnreachableError, float], None],
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[EventItem]:
    """Yield every event from now on, each once, for ever.

    After a break the service sends what was missed: it is told the last event
    that arrived.

    Args:
        household: Whose door.
        on_open: Called each time the service listens to us.
        on_break: Called with the reason and the seconds until the next try.
        wait: Waits that many seconds.

    Raises:
        SignedOutError, RefusedError: The service does not let us listen.
        OddAnswerError: It sent what is no event.
    """
    last_id: str | None = None
    pause_s = 1.0
    while True:
        try:
            stream = household.ask(partial(_opened, last_id))
            pause_s = 1.0
            on_open()
            for event in map(read_event, stream):
                if event.id != last_id:
                    last_id = event.id
                    yield event
            error = ServiceUnreachableError("the service ended the line")
        except ServiceUnreachableError as broken:
            error = broken
        on_break(error, pause_s)
        wait(pause_s)
        pause_s = min(pause_s * 2, MAX_WAIT_S)


def _opened(last_id: str | None, service: Service) -> Iterator[str]:
    # The first item is read inside `ask`, so that a lost session is renewed.
    stream = service.stream("/v1/events/stream", last_id)
    next(stream)
    return stream
