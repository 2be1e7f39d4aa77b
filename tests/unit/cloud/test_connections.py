"""Connections that keep the service waiting are cut; those that it keeps waiting are not."""

import asyncio
import errno
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.types import Message
from structlog.testing import capture_logs

from doorstep_cloud.app.connections import TELL_EVERY_S, LoopErrors, Seldom, most_connections
from doorstep_cloud.web.limits import BodyLimit, Patience
from tests.cloud_world import WebServer
from tests.services import wait_until

SHORT = Patience(headers_s=0.4, pause_s=0.4, body_s=3.0)
LONG_BYTES = 8 * 1024 * 1024
HEADERS = b"POST /asked HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
HALVES = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"GET /asked HTTP/1.1\r\nHost: x\r\n", id="half of the headers"),
    pytest.param(HEADERS, id="no body"),
    pytest.param(HEADERS + b"[1", id="half of the body"),
]


def small_app() -> FastAPI:
    """Return an app with an answer that takes three patiences, and one that is long."""
    app = FastAPI()

    async def ticks() -> AsyncIterator[bytes]:
        for _ in range(6):
            await asyncio.sleep(SHORT.headers_s / 2)
            yield b"tick\n"

    app.add_api_route("/ticks", lambda: StreamingResponse(ticks()), methods=["GET"])
    app.add_api_route("/long", lambda: "x" * LONG_BYTES, methods=["GET"])
    app.add_api_route("/asked", lambda: "yes", methods=["GET", "POST"])
    app.add_middleware(BodyLimit, patience=SHORT)
    return app


@pytest.fixture
def web() -> Iterator[WebServer]:
    """The app under the real server, which is not patient."""
    with WebServer(small_app(), patience=SHORT) as server:
        yield server


@contextmanager
def sending(web: WebServer, what: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", httpx.URL(web.url).port or 0), 10) as caller:
        caller.sendall(what)
        yield caller


def rest(caller: socket.socket) -> bytes:
    """Return what comes until the other side ends it."""
    found = b""
    try:
        while piece := caller.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_not_waited_for(web: WebServer, half: bytes) -> None:
    began_s = time.monotonic()
    with sending(web, half) as caller:
        said = rest(caller)
    assert time.monotonic() - began_s < SHORT.body_s
    if b"\r\n\r\n" in half:
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"urn:doorstep:problem:too-slow" in said
        assert b"connection: close" in said.lower()
    else:
        assert said == b""


def test_one_byte_at_a_time_does_not_hold_it_for_ever(web: WebServer) -> None:
    with sending(
        web, b"POST /asked HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
    ) as caller:
        caller.settimeout(SHORT.pause_s / 4)
        said, until_s = b"", time.monotonic() + 10
        while not said and time.monotonic() < until_s:
            caller.sendall(b" ")
            try:
                said = caller.recv(65536)
            except TimeoutError:
                continue
    assert said.startswith(b"HTTP/1.1 408 ")


def test_headers_that_come_one_by_one_have_no_more_time(web: WebServer) -> None:
    with sending(web, b"GET /asked HTTP/1.1\r\n") as caller:

        def is_cut() -> bool:
            try:
                caller.sendall(b"A: b\r\n")
            except OSError:
                return True
            return False

        wait_until(is_cut, within_s=5, what="the end of the connection")


def test_the_second_request_has_no_more_time_than_the_first(web: WebServer) -> None:
    with sending(web, b"GET /asked HTTP/1.1\r\nHost: x\r\n\r\n") as caller:
        assert caller.recv(65536).startswith(b"HTTP/1.1 200 ")
        caller.sendall(b"GET /as")
        caller.settimeout(5)
        assert b"HTTP/1.1" not in rest(caller)


def test_what_follows_a_refused_body_is_not_waited_for_either(web: WebServer) -> None:
    with sending(
        web, b"POST /asked HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n["
    ) as caller:
        said = rest(caller)
    assert said.startswith(b"HTTP/1.1 413 ")


def test_a_request_whose_sender_went_away_in_its_middle_is_no_request() -> None:
    coming: Iterator[Message] = iter(
        [
            {"type": "http.request", "body": b"", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Message:
        return next(coming)

    async def nobody(*_: object) -> None:
        pytest.fail("it was passed on")

    scope = {"type": "http", "path": "/asked", "headers": []}
    asyncio.run(BodyLimit(nobody)(scope, receive, nobody))


def test_an_answer_may_take_as_long_as_it_takes(web: WebServer) -> None:
    assert httpx.get(f"{web.url}/ticks", timeout=10).text == "tick\n" * 6


def test_a_slow_reader_is_waited_for_and_one_that_stopped_reading_is_not(web: WebServer) -> None:
    ask = b"GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with sending(web, ask) as slow:
        read_bytes, began_s = 0, time.monotonic()
        while piece := slow.recv(1024 * 1024):
            read_bytes += len(piece)
            time.sleep(SHORT.headers_s / 4)  # a line, not luck: it takes longer than the patience
        assert time.monotonic() - began_s > SHORT.headers_s
        assert read_bytes > LONG_BYTES
    with sending(web, ask) as stopped:
        time.sleep(3 * SHORT.headers_s)  # the other side's deadline, twice and more
        assert len(rest(stopped)) < LONG_BYTES


def test_many_who_say_nothing_keep_nobody_out() -> None:
    with WebServer(small_app(), most=8) as web, capture_logs() as logs:
        halves = [HEADERS + b"[", b"GET /asked HTTP/1.1\r\n"] * 20
        callers = [
            socket.create_connection(("127.0.0.1", httpx.URL(web.url).port or 0), 10)
            for _ in halves
        ]
        for caller, half in zip(callers, halves, strict=True):
            try:
                caller.sendall(half)
            except OSError:
                continue  # it was cut while we spoke
        assert httpx.get(f"{web.url}/asked").json() == "yes"
        for caller in callers[:-8]:
            assert rest(caller) == b""
        for caller in callers:
            caller.close()
    told = [line for line in logs if line["event"] == "connections_crowded"]
    assert len(told) == 1
    assert told[0]["most"] == 8


def test_whoever_is_being_answered_is_not_cut_for_one_more() -> None:
    with WebServer(small_app(), most=2) as web, httpx.Client() as client:
        with client.stream("GET", f"{web.url}/ticks") as one, sending(web, b"") as half:
            with client.stream("GET", f"{web.url}/ticks") as other:
                assert rest(half) == b""
                with pytest.raises(httpx.TransportError):
                    httpx.get(f"{web.url}/asked")
                assert other.read() == b"tick\n" * 6
            assert one.read() == b"tick\n" * 6
        assert httpx.get(f"{web.url}/asked").json() == "yes"


@pytest.mark.parametrize(
    ("files", "most"), [(256, 128), (1024, 512), (1 << 20, 512), (-1, 512), (1, 1)]
)
def test_connections_leave_files_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_connections() == most


def test_many_things_alike_are_told_once_a_minute() -> None:
    at_s = 5.0
    seldom = Seldom(lambda: at_s)
    assert [seldom.note() for _ in range(3)] == [1, None, None]
    at_s += TELL_EVERY_S
    assert [seldom.note() for _ in range(2)] == [3, None]


def test_accepting_that_fails_is_told_once_a_minute_and_all_else_as_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(LoopErrors(lambda: 7.0))
        for _ in range(100):
            loop.call_exception_handler(
                {
                    "message": "socket.accept() out of system resource",
                    "exception": OSError(errno.EMFILE, "Too many open files"),
                }
            )
        loop.call_exception_handler({"message": "something else"})

    with capture_logs() as logs:
        asyncio.run(fail())
    assert logs == [
        {
            "event": "accept_failed",
            "log_level": "error",
            "reason": "[Errno 24] Too many open files",
            "times": 1,
        }
    ]
    assert [record.message for record in caplog.records] == ["something else"]
