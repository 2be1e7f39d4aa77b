"""The line to the broker: it carries bytes, until it is cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from doorstep_simulator.network import Line

DEADLINE_S = 5


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A server that sends back what it gets; its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def echoed(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    back = await reader.read()
    writer.close()
    await writer.wait_closed()
    return back


async def test_bytes_pass_both_ways_unchanged() -> None:
    data = bytes(range(256)) * 2_000
    async with asyncio.timeout(DEADLINE_S), echo() as port, Line("127.0.0.1", port) as line:
        assert await echoed(line.port, data) == data


async def test_a_cut_ends_the_connections_there_are() -> None:
    async with asyncio.timeout(DEADLINE_S), echo() as port, Line("127.0.0.1", port) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        writer.write(b"there?")
        assert await reader.readexactly(6) == b"there?"
        await line.cut()
        with pytest.raises(ConnectionError):
            # An orderly end would be read as an incomplete one; a cut is a reset.
            await reader.readexactly(1)
        writer.close()


async def test_a_cut_line_refuses_and_a_mended_one_carries_on_the_same_port() -> None:
    async with asyncio.timeout(DEADLINE_S), echo() as port, Line("127.0.0.1", port) as line:
        await line.cut()
        states = [line.is_cut]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", line.port)
        await line.mend()
        states.append(line.is_cut)
        assert states == [True, False]
        assert await echoed(line.port, b"again") == b"again"


async def test_a_line_may_begin_cut() -> None:
    async with asyncio.timeout(DEADLINE_S), Line("127.0.0.1", 1, is_cut=True) as line:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", line.port)


async def test_where_nobody_answers_the_near_end_is_closed() -> None:
    async with asyncio.timeout(DEADLINE_S), echo() as gone:
        pass
    async with asyncio.timeout(DEADLINE_S), Line("127.0.0.1", gone) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_after_its_end_nothing_is_left_open() -> None:
    async with asyncio.timeout(DEADLINE_S), echo() as port:
        async with Line("127.0.0.1", port) as line:
            reader, writer = await asyncio.open_connection("127.0.0.1", line.port)
            writer.write(b"x")
            await reader.readexactly(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", line.port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
