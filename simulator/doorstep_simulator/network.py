"""The network between a simulated doorbell and its broker: one line that can be cut."""

import asyncio
from contextlib import suppress
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
            end.transport.abort()
        if server is not None:
            await server.wait_closed()

    async def mend(self) -> None:
        """Carry again, on the same port; harmless when repeated."""
        self._is_cut = False
        if self._server is None:
            self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join an accepted connection to one of our own until either ends."""
        self._ends.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:  # nobody there: the doorbell sees its own connection end
            self._ends.discard(writer)
            writer.transport.abort()
            return
        self._ends.add(far_writer)
        if self._is_cut:
            far_writer.transport.abort()
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                self._ends.discard(end)
                end.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction until it ends, then end the other side's reading."""
    with suppress(OSError):  # a reset on either side is an end like any other
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()
