"""Listening, and a clean end: sockets opened before the server, signals that mean stop."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn
from fastapi import FastAPI

from doorstep_cloud.app.connections import Connection, Crowd, LoopErrors, most_connections
from doorstep_cloud.web.limits import PATIENCE, Patience
from doorstep_shared.errors import TryLaterError

BACKLOG: Final = 256

# Each is open before it is counted, so this is how far over their number connections may get.
_ACCEPTED_AT_ONCE: Final = 16

# Requests under way end in this time; listeners are ended before it begins.
_GRACE_S: Final = 10


class CannotListenError(TryLaterError):
    """An address or a socket is taken."""


class Server(uvicorn.Server):
    """uvicorn without its own signals: it would end the process by the signal, not with 0.

    Args:
        config: What to serve and how.
        most: Connections at a time; one more takes the place of one that sends no request.
        wait_s: How long a connection may take for a request's headers.
    """

    def __init__(self, config: uvicorn.Config, *, most: int, wait_s: float) -> None:
        super().__init__(config)
        self.server_state = Crowd(most, wait_s)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the servers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept; the kernel holds `BACKLOG` who wait for that."""
        await super().startup(sockets)
        for listener in sockets or ():
            # uvicorn has one number for how many wait and how many are accepted at once.
            listener.listen(BACKLOG)


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        CannotListenError: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListenError(
            f"{host}:{port} cannot be listened on: {os.strerror(error.errno or 0)}",
            safe="Nothing was started.",
            do="Stop what uses it, or choose another with DOORSTEP_CLOUD_LISTEN_PORT.",
        ) from error


def listen_unix(path: Path) -> socket.socket:
    """Return a listening Unix socket at ``path``, for its owner only (0600).

    One left by a process that was killed is replaced; the caller holds the state folder.

    Raises:
        CannotListenError: It cannot be made there.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Nobody may connect between bind and chmod.
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListenError(
            f"the socket {path} cannot be made: {error.strerror or error}",
            safe="Nothing was started.",
            do="Choose a shorter path with DOORSTEP_CLOUD_STATE_DIR (at most 100 characters).",
        ) from error
    finally:
        os.umask(mask)
    return listener


def create_server(
    app: FastAPI,
    *,
    is_behind_proxy: bool,
    most: int | None = None,
    patience: Patience = PATIENCE,
) -> Server:
    """Return a server for ``app`` that logs no addresses.

    Args:
        app: What answers.
        is_behind_proxy: Whether one on this machine says where requests come from.
        most: Connections at a time; what `most_connections` says if None.
        patience: For how long the headers of a request may be on their way.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        # Nothing here speaks it, and such a connection would be in nobody's count.
        ws="none",
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        date_header=True,
        backlog=_ACCEPTED_AT_ONCE,
        # Only a proxy on this machine is believed about where a request came from.
        proxy_headers=is_behind_proxy,
        forwarded_allow_ips="127.0.0.1",
        timeout_graceful_shutdown=_GRACE_S,
    )
    return Server(config, most=most or most_connections(), wait_s=patience.headers_s)


async def serve_until_stopped(
    servers: Sequence[tuple[Server, socket.socket]], *, before_stop: Callable[[], None]
) -> None:
    """Serve on each socket until SIGTERM or SIGINT; what is under way is finished.

    Args:
        servers: Each with the socket it listens on.
        before_stop: Ends what would otherwise go on for ever, such as listeners.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopErrors())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tasks = [asyncio.create_task(server.serve([listener])) for server, listener in servers]
    stop = asyncio.create_task(stopping.wait())
    # A server that ends by itself has failed: the others end too, and its error is raised.
    await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    before_stop()
    for server, _ in servers:
        server.should_exit = True
    await asyncio.gather(*tasks)
