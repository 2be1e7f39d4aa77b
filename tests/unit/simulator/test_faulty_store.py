"""The way to the object store: it carries what it is given, unless something goes wrong."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from doorstep_simulator.faulty_store import FaultyStore, StoreTrouble

DEADLINE_S = 10
BODY = bytes(range(256)) * 1_000


class Store(ThreadingHTTPServer):
    """A store that keeps what is put."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Shelf)
        self.kept: dict[str, bytes] = {}


class Shelf(BaseHTTPRequestHandler):
    server: Store
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.server.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.server.kept[self.path])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own word
        """Say nothing."""

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running() -> Iterator[tuple[Store, FaultyStore]]:
    with Store() as store:
        serving = threading.Thread(target=store.serve_forever, args=(0.01,))
        serving.start()
        try:
            with FaultyStore(store.server_port) as way:
                yield store, way
        finally:
            store.shutdown()
            serving.join()


def test_a_connection_carries_one_request_and_ends() -> None:
    with running() as (_, way):
        line = http.client.HTTPConnection("127.0.0.1", way.port, timeout=DEADLINE_S)
        line.request("PUT", "/clips/a", BODY)
        answer = line.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
        assert line.sock.recv(1) == b""
        line.close()


def ask(
    way: FaultyStore, method: str, body: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", way.port, timeout=DEADLINE_S)
    try:
        line.request(method, "/clips/a", body, headers)
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


def test_what_is_put_and_read_passes_unchanged() -> None:
    with running() as (store, way):
        assert ask(way, "PUT", BODY) == (200, b"")
        assert store.kept == {"/clips/a": BODY}
        assert ask(way, "GET", Connection="keep-alive") == (200, BODY)
        assert way.troubled == 0


@pytest.mark.parametrize(
    ("trouble", "status"), [(StoreTrouble.ANSWER_500, 500), (StoreTrouble.ANSWER_503, 503)]
)
def test_a_refusal_does_not_reach_the_store(trouble: StoreTrouble, status: int) -> None:
    with running() as (store, way):
        way.trouble = trouble
        answered, body = ask(way, "PUT", b"small")
        assert answered == status
        assert body.startswith(b"<?xml")
        assert (store.kept, way.troubled) == ({}, 1)
        way.trouble = None
        assert ask(way, "PUT", b"small") == (200, b"")


def test_a_broken_answer_is_of_a_request_that_was_carried_out() -> None:
    with running() as (store, way):
        way.trouble = StoreTrouble.BREAK_ANSWER
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(way, "PUT", BODY)
        assert store.kept == {"/clips/a": BODY}


def test_a_flipped_byte_is_one_and_only_on_the_way_in() -> None:
    with running() as (store, way):
        way.trouble = StoreTrouble.FLIP_BYTE
        ask(way, "PUT", BODY)
        kept = store.kept["/clips/a"]
        assert sum(a != b for a, b in zip(kept, BODY, strict=True)) == 1
        assert ask(way, "GET") == (200, kept)


def test_a_late_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("doorstep_simulator.faulty_store.asyncio.sleep", sleep)
    with running() as (_, way):
        way.trouble = StoreTrouble.ANSWER_LATE
        assert ask(way, "PUT", BODY) == (200, b"")
    assert slept[0] > 1


def test_a_store_that_is_away_is_away_through_here_too() -> None:
    with running() as (store, _), FaultyStore(1) as way:
        with pytest.raises(ConnectionError):
            ask(way, "PUT", BODY)
        assert store.kept == {}
