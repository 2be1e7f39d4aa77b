"""Items from a thread to the event loop."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, Self, TypeVar

from doorstep_shared.errors import DoorstepError

Item = TypeVar("Item")


class Handover(Generic[Item]):
    """A bounded queue that a thread fills and one task empties.

    What waits is delivered before the end or the error is. To `put`, with `overfull` the
    queue loses nothing: the item that does not fit ends it with that error. Without, the
    oldest item makes room. To `offer`, a full queue says no.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limit: int,
        overfull: Callable[[], DoorstepError] | None = None,
    ) -> None:
        """Make an empty queue.

        Args:
            loop: Where the reading task runs.
            limit: How many items wait at most, 1 or more.
            overfull: Makes the error for an item too many; None drops the oldest.
        """
        self._loop = loop
        self._limit = limit
        self._overfull = overfull
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._changed = asyncio.Event()
        self._has_ended = False
        self._error: Exception | None = None

    def put(self, item: Item) -> None:
        """Queue an item, from any thread; after the end it goes nowhere.

        Raises:
            DoorstepError: The queue was full; it has ended with this error.
        """
        with self._lock:
            if self._has_ended:
                return
            if len(self._items) >= self._limit:
                if self._overfull is not None:
                    self._has_ended, self._error = True, self._overfull()
                else:
                    self._items.popleft()
            if not self._has_ended:
                self._items.append(item)
        self._wake_reader()
        if self._has_ended and self._error is not None:
            raise self._error

    def offer(self, item: Item) -> bool:
        """Queue an item if there is room for it, from any thread; return whether there was."""
        with self._lock:
            if len(self._items) >= self._limit:
                return False
            if not self._has_ended:
                self._items.append(item)
        self._wake_reader()
        return True

    def start_afresh(self, item: Item) -> None:
        """Drop everything that waits and queue ``item`` alone, from any thread."""
        with self._lock:
            self._items.clear()
            if not self._has_ended:
                self._items.append(item)
        self._wake_reader()

    def end(self, error: Exception | None = None) -> None:
        """Let the reader finish, from any thread; the first end counts.

        Args:
            error: Raised to the reader after the last item; None ends it quietly.
        """
        with self._lock:
            if not self._has_ended:
                self._has_ended, self._error = True, error
        self._wake_reader()

    def _wake_reader(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._changed.set)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            self._changed.clear()
            with self._lock:
                if self._items:
                    return self._items.popleft()
                if self._has_ended:
                    break
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration
