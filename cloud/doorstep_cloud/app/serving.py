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

from doorstep_shared.errors import TryLaterError

BACKLOG: Final = 256

# Requests under way end in this time; listeners are ended before it begins.
_GRACE_S: Final = 10


class CannotListenError(TryLaterError):
    """An address or a socket is taken."""


class Server(uvicorn.Server):
    """uvicorn without its own signals: it would end the process by the signal, not with 0."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the servers."""
        yield


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


def create_server(app: FastAPI, *, is_behind_proxy: bool) -> Server:
    """Return a server for ``app`` that logs no addresses."""
    return Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="off",
            server_header=False,
            date_header=True,
            # Only a proxy on this machine is believed about where a request came from.
            proxy_headers=is_behind_proxy,
            forwarded_allow_ips="127.0.0.1",
            timeout_graceful_shutdown=_GRACE_S,
        )
    )


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
