"""The network between a simulated doorbell and its broker: one line that can be cut."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Self

from doorstep_simulator.processes import free_ports

_PIECE_BYTES: Final = 64 * 1024


class Line:
    """Carries TCP from a loopback port of its own to another, unseen bytes and all.

    TLS passes through: the doorbell's and the broker's certificates meet as they would
    without it. Use it as an async context manager, in one event loop.

    Attributes:
        port: Where the doorbell connects, on 127.0.0.1.
    """

    def __init__(self, to_host: str, to_port: int, *, is_cut: bool = False) -> None:
        """Draw a port; nothing listens yet.

        Args:
            to_host: Where it leads.
            to_port: The same.
            is_cut: Begin with the line cut.
        """
        # Not one that the system hands to outgoing connections: while the line is cut
        # nobody may take its place.
        self.port: Final = free_ports(1)[0]
        self._to: Final = (to_host, to_port)
        self._is_cut = is_cut
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._carriers: set[asyncio.Future[None]] = set()

    @property
    def is_cut(self) -> bool:
        """Whether nothing gets through."""
        return self._is_cut

    async def __aenter__(self) -> Self:
        if not self._is_cut:
            await self.mend()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.cut()

    async def cut(self) -> None:
        """Reset every connection and refuse new ones; harmless when repeated."""
        self._is_cut = True
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for end in tuple(self._ends):
            reset(end)
        await asyncio.gather(*self._carriers)
        if server is not None:
            await server.wait_closed()

    async def mend(self) -> None:
        """Carry again, on the same port; harmless when repeated."""
        self._is_cut = False
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join an accepted connection to one of our own until either ends."""
        carrier = asyncio.ensure_future(self._join(reader, writer))
        self._carriers.add(carrier)
        carrier.add_done_callback(self._carriers.discard)
        await asyncio.wait([carrier])

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._held(writer):
            try:
                far_reader, far_writer = await asyncio.open_connection(*self._to)
            except OSError:  # nobody there: the doorbell sees its own connection end
                return
            with self._held(far_writer):
                if self._is_cut:
                    reset(far_writer)
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
                for end in (writer, far_writer):
                    with suppress(OSError):
                        await end.wait_closed()

    @contextmanager
    def _held(self, end: asyncio.StreamWriter) -> Iterator[None]:
        """Let `cut` reach this end while the block runs, and close it after."""
        self._ends.add(end)
        try:
            yield
        finally:
            self._ends.discard(end)
            end.close()


def reset(end: asyncio.StreamWriter) -> None:
    """End a connection as a pulled cable's time-out would: without a goodbye."""
    linger = struct.pack("ii", 1, 0)  # drop what waits, and say RST rather than FIN
    with suppress(OSError):  # it is closed already
        end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    end.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction until it ends, and pass its end on."""
    try:
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:  # a reset on one side is passed on to the other
        writer.transport.abort()
