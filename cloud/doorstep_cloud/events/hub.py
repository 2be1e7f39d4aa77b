"""From a commit to those who listen, within one process and without polling.

Ingest tells from its thread; each listener waits in the web server's event
loop. What a listener missed is in the database, so a slow one is cut off
rather than waited for: it comes back and says where it was.
"""

import asyncio
import threading
from collections import defaultdict
from typing import Final

from doorstep_cloud.events.rules import EventItem
from doorstep_shared.errors import TryLaterError
from doorstep_shared.ids import HouseholdId

MAX_LISTENERS: Final = 16
"""Per household: every member's phone, laptop and a display or two."""

QUEUE_ITEMS: Final = 64


class TooManyListenersError(TryLaterError):
    """A household has as many listeners as it may have."""


class Listener:
    """One household's new events, from the moment it was made; used in one event loop."""

    def __init__(self, hub: "Hub", household: HouseholdId) -> None:
        self.household: Final = household
        self._hub = hub
        self._loop = asyncio.get_running_loop()
        self._items: asyncio.Queue[EventItem | None] = asyncio.Queue()
        self._is_cut_off = False

    async def next(self, wait_s: float) -> EventItem | None:
        """Return the next event; None once nothing more will come.

        Raises:
            TimeoutError: Nothing happened for ``wait_s`` seconds.
        """
        if self._is_cut_off and self._items.empty():
            return None
        # Not wait_for: in Python 3.11 it can swallow a cancellation that comes with an item.
        async with asyncio.timeout(wait_s):
            return await self._items.get()

    def close(self) -> None:
        """Stop listening."""
        self._hub.forget(self)

    def offer(self, item: EventItem | None) -> None:
        """Queue ``item`` from any thread; None ends the listener."""
        try:
            self._loop.call_soon_threadsafe(self._queue, item)
        except RuntimeError:  # Its event loop has ended, and the listener with it.
            self._hub.forget(self)

    def _queue(self, item: EventItem | None) -> None:
        if self._is_cut_off:
            return
        if item is None or self._items.qsize() >= QUEUE_ITEMS:
            self._is_cut_off = True
            item = None
            self._hub.forget(self)
        self._items.put_nowait(item)


class Hub:
    """Who listens to which household. Safe to use from any thread."""

    def __init__(self, *, listeners_per_household: int = MAX_LISTENERS) -> None:
        self._limit = listeners_per_household
        self._lock = threading.Lock()
        self._listeners: defaultdict[HouseholdId, set[Listener]] = defaultdict(set)

    def listen(self, household: HouseholdId) -> Listener:
        """Return a listener to what happens from now on; called in an event loop.

        Raises:
            TooManyListenersError: The household has too many already.
        """
        listener = Listener(self, household)
        with self._lock:
            if len(self._listeners[household]) >= self._limit:
                raise TooManyListenersError(
                    f"{self._limit} listeners of this household are connected already",
                    do="close one of them, then try again",
                    after_s=15.0,
                )
            self._listeners[household].add(listener)
        return listener

    @property
    def listeners(self) -> int:
        """Return how many listen just now, of all households."""
        with self._lock:
            return sum(map(len, self._listeners.values()))

    def forget(self, listener: Listener) -> None:
        """Tell ``listener`` nothing more."""
        with self._lock:
            self._listeners[listener.household].discard(listener)
            if not self._listeners[listener.household]:
                del self._listeners[listener.household]

    def tell(self, household: HouseholdId, item: EventItem) -> None:
        """Pass a committed event on to the household's listeners."""
        for listener in self._of(household):
            listener.offer(item)

    def close(self) -> None:
        """End every listener, as before the web server stops."""
        with self._lock:
            everyone = [one for of_one in self._listeners.values() for one in of_one]
        for listener in everyone:
            listener.offer(None)

    def _of(self, household: HouseholdId) -> tuple[Listener, ...]:
        with self._lock:
            return tuple(self._listeners.get(household, ()))
