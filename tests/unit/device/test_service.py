"""Enrolling over HTTP: every answer of a service becomes one of ours."""

import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

import pytest

from doorstep_device.adapters import service
from doorstep_device.adapters.service import MAX_ANSWER_BYTES, post_enrolment
from doorstep_device.enrolment import Answer
from doorstep_shared.errors import BadMessageError, DoorstepError, RefusedError, TryLaterError

HONEST = {
    "certificate": "one",
    "ca_certificate": "two",
    "receipt_certificate": "three",
    "broker": {"host": "broker.example", "port": 8883},
    "more": "of a later version",
}
Say = Callable[[Iterable[bytes]], str]


@pytest.fixture
def say() -> Iterator[Say]:
    """Lets a service answer with these pieces, as they are; returns its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer(pieces: Iterable[bytes]) -> None:
            with suppress(OSError):
                line, _ = listener.accept()
                with line:
                    line.recv(1 << 16)
                    for piece in pieces:
                        line.sendall(piece)

        threads: list[threading.Thread] = []

        def begin(pieces: Iterable[bytes]) -> str:
            threads.append(threading.Thread(target=answer, args=(pieces,)))
            threads[-1].start()
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield begin
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def said(status: int, body: bytes, *headers: str) -> list[bytes]:
    lines = [f"HTTP/1.1 {status} X", *headers, f"Content-Length: {len(body)}", "", ""]
    return ["\r\n".join(lines).encode() + body]


def endless(status: int, begun: list[int]) -> Iterator[bytes]:
    """Yield an answer of 64 MB, noting in ``begun`` how far it came."""
    yield f"HTTP/1.1 {status} X\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for number in range(1000):
        begun.append(number)
        yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"


def dripping(first: bytes, drop: bytes) -> Iterator[bytes]:
    yield first
    while True:
        time.sleep(0.02)
        yield drop


def test_an_honest_answer_is_read_and_what_is_new_in_it_passed_over(say: Say) -> None:
    url = say(said(201, json.dumps(HONEST).encode()))
    assert post_enrolment(url, {}) == Answer("one", "two", "three", "broker.example", 8883)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_service_that_cannot_now_may_be_asked_again(say: Say, status: int) -> None:
    with pytest.raises(TryLaterError) as told:
        post_enrolment(say(said(status, b"")), {})
    assert "claim stays good" in told.value.safe


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
def test_a_claim_that_is_refused_says_what_to_do(say: Say, status: int) -> None:
    with pytest.raises(RefusedError) as told:
        post_enrolment(say(said(status, b"")), {})
    assert str(status) in told.value.fact
    assert told.value.do.startswith("doorstep device add")


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    ("problem", "fact"),
    [
        (b'{"title": "this claim was used"}', "this claim was used"),
        (b'{"title": ""}', "the service said"),
        (b'{"title": null}', "the service said"),
        (b'{"title": "' + b"x" * 201 + b'"}', "the service said"),
        (b"[" * 60_000, "the service said"),
        (b"\xff", "the service said"),
    ],
)
def test_a_refusal_is_told_in_the_service_s_words_if_they_are_any(
    say: Say, status: int, problem: bytes, fact: str
) -> None:
    with pytest.raises(DoorstepError) as told:
        post_enrolment(say(said(status, problem)), {})
    assert told.value.fact.startswith(fact)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"{}",
        b"[" * 60_000,
        json.dumps(HONEST | {"broker": {"host": "x", "port": 0}}).encode(),
    ],
)
def test_what_is_no_answer_is_none(say: Say, body: bytes) -> None:
    with pytest.raises(BadMessageError) as told:
        post_enrolment(say(said(201, body)), {})
    assert told.value.safe
    assert told.value.do


def test_an_answer_has_room_for_so_much(say: Say) -> None:
    body = json.dumps(HONEST).encode()
    assert post_enrolment(say(said(201, body.ljust(MAX_ANSWER_BYTES))), {}).broker_port == 8883
    with pytest.raises(BadMessageError):
        post_enrolment(say(said(201, body[:-1].ljust(MAX_ANSWER_BYTES) + b"}")), {})


@pytest.mark.parametrize(("status", "error"), [(201, BadMessageError), (500, TryLaterError)])
def test_an_answer_without_end_is_not_read_to_its_end(
    say: Say, status: int, error: type[DoorstepError]
) -> None:
    begun: list[int] = []
    with pytest.raises(error):
        post_enrolment(say(endless(status, begun)), {})
    # The rest is what the line itself holds.
    assert len(begun) < 500


def test_a_packed_answer_is_not_unfolded(say: Say) -> None:
    packed = zlib.compress(json.dumps(HONEST).encode(), wbits=31)
    with pytest.raises(BadMessageError):
        post_enrolment(say(said(201, packed, "Content-Encoding: gzip")), {})


@pytest.mark.parametrize(
    "pieces",
    [
        dripping(b"HTTP/1.1 201 X\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        dripping(b"HTTP/1.1 201 X\r\n", b"X: x\r\n"),
        dripping(b"HTTP/1.1 2", b"0"),
    ],
    ids=["body", "headers", "status"],
)
def test_an_answer_that_drips_is_waited_for_only_so_long(
    say: Say, monkeypatch: pytest.MonkeyPatch, pieces: Iterator[bytes]
) -> None:
    monkeypatch.setattr(service, "WHOLE_S", 0.3)
    began = time.monotonic()
    with pytest.raises(TryLaterError, match="does not answer"):
        post_enrolment(say(pieces), {})
    assert time.monotonic() - began < 5


def test_a_service_that_is_not_there_is_told_by_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TryLaterError, match=f"127.0.0.1:{port}/ does not answer"):
        post_enrolment(f"http://127.0.0.1:{port}/", {"device": "x"})


@pytest.mark.parametrize(
    "url",
    ["", "no address", "ftp://service", "http://[::1", "http://\x00", f"http://{'a' * 70}.invalid"],
)
def test_a_claim_with_a_strange_address_fails_in_words(url: str) -> None:
    with pytest.raises(TryLaterError):
        post_enrolment(url, {})
