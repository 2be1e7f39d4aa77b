"""A way to the object store on which things go wrong, when asked: for the fault lab.

It carries HTTP from a loopback port of its own to the store's, one request to a
connection. What it does in between, a proxy, a cable or a store might do.
"""

import asyncio
import re
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from types import TracebackType
from typing import Final, Self

from doorstep_simulator.network import reset
from doorstep_simulator.processes import free_ports

LATE_S: Final = 1.2

_PIECE_BYTES: Final = 64 * 1024
_MAX_HEAD_BYTES: Final = 64 * 1024
_LINGER_S: Final = 1.0
_START_S: Final = 10.0
_HEAD_END: Final = b"\r\n\r\n"
# Neither header is among those that a request's signature covers.
_CONNECTION: Final = re.compile(rb"\r\n(?:connection|keep-alive):[^\r]*", re.IGNORECASE)
_REFUSAL: Final = (
    "HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\n"
    "Connection: close\r\n\r\n"
)
_REFUSAL_BODY: Final = (
    '<?xml version="1.0"?><Error><Code>{code}</Code><Message>the fault lab</Message></Error>'
)


class StoreTrouble(Enum):
    """What goes wrong; the value says it to people who read code.

    `BREAK_ANSWER` is the meanest: the store has done what it was asked, and nobody learns.
    """

    ANSWER_500 = "every request is answered with 500"
    ANSWER_503 = "every request is answered with 503"
    ANSWER_LATE = "every request is held back for more than a second"
    BREAK_ANSWER = "the request is carried out, and its answer breaks off"
    FLIP_BYTE = "one byte of what is put is flipped on its way"


class FaultyStore:
    """The way to a store on a loopback port; use it as a context manager.

    Its event loop runs in a thread of its own.

    Attributes:
        port: Where it is reached instead of the store.
        trouble: What goes wrong with requests from now on; None for nothing.
        troubled: How many requests something went wrong with.
    """

    def __init__(self, store_port: int) -> None:
        """Draw a port; nothing listens yet."""
        self.port: Final = free_ports(1)[0]
        self.trouble: StoreTrouble | None = None
        self.troubled = 0
        self._store_port = store_port
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._ending = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="faulty-store", daemon=True)

    @property
    def endpoint(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_up.wait(_START_S):
            raise RuntimeError("the way to the object store did not come up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())

    async def _listen(self) -> None:
        carriers: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            carrier = asyncio.ensure_future(self._carry(reader, writer))
            carriers.add(carrier)
            carrier.add_done_callback(carriers.discard)

        server = await asyncio.start_server(
            accept, "127.0.0.1", self.port, limit=_MAX_HEAD_BYTES, family=socket.AF_INET
        )
        self._is_up.set()
        await self._ending.wait()
        server.close()
        for carrier in carriers:
            carrier.cancel()
        await asyncio.gather(*carriers, return_exceptions=True)
        await server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one request and its answer; whatever ends the one ends the other."""
        async with _closing(writer):
            head = await _read_head(reader)
            if head is None:
                return
            trouble = self.trouble
            self.troubled += trouble is not None
            match trouble:
                case StoreTrouble.ANSWER_500:
                    await _refuse(reader, writer, "500", "InternalError")
                case StoreTrouble.ANSWER_503:
                    await _refuse(reader, writer, "503", "SlowDown")
                case _:
                    if trouble is StoreTrouble.ANSWER_LATE:
                        await asyncio.sleep(LATE_S)
                    await self._pass_on(head, reader, writer, trouble)

    async def _pass_on(
        self,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        trouble: StoreTrouble | None,
    ) -> None:
        """Carry the request to the store, and the answer back."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._store_port)
        except OSError:
            reset(writer)  # as if this were the store's own port
            return
        async with _closing(far_writer):
            far_writer.write(_asking_once(head))
            flips = trouble is StoreTrouble.FLIP_BYTE
            upwards = asyncio.ensure_future(_carry_body(reader, far_writer, flips=flips))
            try:
                if trouble is StoreTrouble.BREAK_ANSWER:
                    await _break_off(far_reader, writer)
                else:
                    await _carry_body(far_reader, writer)
            finally:
                upwards.cancel()
                await asyncio.gather(upwards, return_exceptions=True)


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Close one end after the block; a line that broke is what this is about."""
    try:
        with suppress(OSError):
            yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _read_head(reader: asyncio.StreamReader) -> bytes | None:
    """Return a request or an answer up to its body; None if its end comes first."""
    try:
        return await reader.readuntil(_HEAD_END)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None


def _asking_once(head: bytes) -> bytes:
    """Return the head of a request after whose answer the store closes the connection."""
    plain = _CONNECTION.sub(b"", head)
    return plain.removesuffix(_HEAD_END) + b"\r\nConnection: close" + _HEAD_END


async def _carry_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, flips: bool = False
) -> None:
    """Carry what comes until its end; with ``flips``, the first byte of it is another."""
    while piece := await reader.read(_PIECE_BYTES):
        writer.write(bytes([piece[0] ^ 1]) + piece[1:] if flips else piece)
        flips = False
        await writer.drain()


async def _break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry half of the answer's head and reset the connection."""
    head = await _read_head(reader)
    while head is not None and head.startswith(b"HTTP/1.1 100"):
        writer.write(head)
        head = await _read_head(reader)
    if head is not None:
        writer.write(head[: len(head) // 2])
        await writer.drain()
    reset(writer)


async def _refuse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: str, code: str
) -> None:
    """Answer in the store's stead."""
    body = _REFUSAL_BODY.format(code=code)
    writer.write((_REFUSAL.format(status=status, reason=code, length=len(body)) + body).encode())
    await writer.drain()
    writer.write_eof()
    # A connection closed over what nobody read is reset, and the answer lost with it.
    with suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while await reader.read(_PIECE_BYTES):
                pass
