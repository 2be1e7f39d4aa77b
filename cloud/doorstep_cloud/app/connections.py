"""How many connections there may be, and how long one may keep us waiting for a request.

A stranger can open connections and send half of a request on each. Each takes a file
descriptor of the process, which its databases, its spool and the broker need too.
"""

import asyncio
import resource
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

MOST_CONNECTIONS: Final = 512
"""With all else the service opens this stays under 1024: select(2), in which the broker's
client waits, takes no file descriptor from there on."""

TELL_EVERY_S: Final = 60.0

# asyncio's own words; there is no type or number to know it by.
_CANNOT_ACCEPT: Final = "socket.accept() out of system resource"

_log = structlog.get_logger(__name__)


def most_connections() -> int:
    """Return how many connections this process may hold open and have files left for the rest."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_endless = files == resource.RLIM_INFINITY
    return MOST_CONNECTIONS if is_endless else max(1, min(MOST_CONNECTIONS, files // 2))


class Seldom:
    """Lets one of many things alike be told, at most once in `TELL_EVERY_S`."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._told_s: float | None = None
        self._untold = 0

    def note(self) -> int | None:
        """Count one; return how many there were since the last time, or None: not yet."""
        self._untold += 1
        now_s = self._monotonic_s()
        if self._told_s is not None and now_s - self._told_s < TELL_EVERY_S:
            return None
        self._told_s, count, self._untold = now_s, self._untold, 0
        return count


class Crowd(ServerState):
    """The connections of one server.

    Attributes:
        wait_s: How long one that owes us a request's headers is waited for.
    """

    def __init__(self, most: int, wait_s: float) -> None:
        super().__init__()
        self.wait_s = wait_s
        self._most = most
        self._owing: dict[Connection, None] = {}
        self._seldom = Seldom()

    def owe(self, connection: "Connection") -> None:
        """Note that ``connection`` owes a request from now on; if it is one too many, one goes.

        That is the one which has owed for longest: whoever asks at once is answered, though
        others fill the place with half of a request.
        """
        self.settle(connection)
        self._owing[connection] = None
        while len(self.connections) > self._most:
            longest = next(iter(self._owing), None)
            if longest is None:
                return
            self.settle(longest)
            self.connections.discard(longest)
            longest.cut()
            if count := self._seldom.note():
                _log.warning("connections_crowded", most=self._most, cut=count)

    def settle(self, connection: "Connection") -> None:
        """Note that ``connection`` owes nothing: its request is whole, or it is gone."""
        self._owing.pop(connection, None)


class Connection(H11Protocol):
    """A connection that is cut when its next request's headers do not come in time.

    Headers only: a body's time is `BodyLimit`'s, which can still answer, and an answer
    may take as long as it takes, for listeners and downloads do.
    """

    def __init__(
        self,
        config: Config,
        server_state: Crowd,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd = server_state
        self._deadline: asyncio.TimerHandle | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._crowd.settle(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take what has come; with all headers there the waiting ends."""
        super().handle_events()
        if not self._is_asked:
            return
        self._stop_waiting()
        if not self.cycle.more_body:
            self._crowd.settle(self)

    def on_response_complete(self) -> None:
        """Wait for the next request, from when this one's answer is complete."""
        self._await_headers()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Let what is under way end, but wait for no rest of a request."""
        if self._is_asked and self.cycle.more_body:
            self.cut()
        else:
            super().shutdown()

    def cut(self) -> None:
        """End it at once: closing would wait until the other side has read what it has not."""
        self._stop_waiting()
        self.transport.abort()

    @property
    def _is_asked(self) -> bool:
        """Whether a request's headers are there and its answer is not complete."""
        # uvicorn has None there until the first request, whatever it declares.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _await_headers(self) -> None:
        self._stop_waiting()
        self._crowd.owe(self)
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._deadline = self.loop.call_later(self._crowd.wait_s, self._end_waiting)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _end_waiting(self) -> None:
        # On a slow line the last answer is still being read: that takes as long as it goes on.
        unread_bytes = self.transport.get_write_buffer_size()
        if 0 < unread_bytes < self._unread_bytes:
            self._unread_bytes = unread_bytes
            self._deadline = self.loop.call_later(self._crowd.wait_s, self._end_waiting)
            return
        self.cut()


class LoopErrors:
    """Says once a minute that no connection could be accepted; all else as asyncio says it.

    asyncio tries again by itself, and would log every try with its traceback.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._seldom = Seldom(monotonic_s)

    def __call__(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """Take what went wrong in ``loop``."""
        if context.get("message") != _CANNOT_ACCEPT:
            loop.default_exception_handler(dict(context))
        elif count := self._seldom.note():
            _log.error("accept_failed", reason=str(context.get("exception")), times=count)
