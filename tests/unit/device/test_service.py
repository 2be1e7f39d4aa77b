"""Enrolling over HTTP: every answer of a service becomes one of ours."""

import json
import socket
from collections.abc import Callable

import httpx
import pytest

from doorstep_device.adapters.service import post_enrolment
from doorstep_device.enrolment import Answer
from doorstep_shared.errors import BadMessageError, RefusedError, TryLaterError

HONEST = {
    "certificate": "one",
    "ca_certificate": "two",
    "receipt_certificate": "three",
    "broker": {"host": "broker.example", "port": 8883},
    "more": "of a later version",
}
Say = Callable[[int, bytes], None]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Lets the service answer like this."""

    def answer(status: int, body: bytes) -> None:
        monkeypatch.setattr(
            "doorstep_device.adapters.service.httpx.post",
            lambda *_, **__: httpx.Response(status, content=body),
        )

    return answer


def test_an_honest_answer_is_read_and_what_is_new_in_it_passed_over(say: Say) -> None:
    say(201, json.dumps(HONEST).encode())
    assert post_enrolment("http://service", {}) == Answer(
        "one", "two", "three", "broker.example", 8883
    )


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_service_that_cannot_now_may_be_asked_again(say: Say, status: int) -> None:
    say(status, b"")
    with pytest.raises(TryLaterError) as told:
        post_enrolment("http://service", {})
    assert "claim stays good" in told.value.safe


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
def test_a_claim_that_is_refused_says_what_to_do(say: Say, status: int) -> None:
    say(status, b"")
    with pytest.raises(RefusedError) as told:
        post_enrolment("http://service", {})
    assert str(status) in told.value.fact
    assert told.value.do.startswith("doorstep device add")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"{}",
        json.dumps(HONEST | {"broker": {"host": "x", "port": 0}}).encode(),
    ],
)
def test_what_is_no_answer_is_none(say: Say, body: bytes) -> None:
    say(201, body)
    with pytest.raises(BadMessageError):
        post_enrolment("http://service", {})


def test_a_service_that_is_not_there_is_told_by_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TryLaterError, match=f"127.0.0.1:{port}/ does not answer"):
        post_enrolment(f"http://127.0.0.1:{port}/", {"device": "x"})


@pytest.mark.parametrize("url", ["", "no address", "ftp://service", "http://[::1", "http://\x00"])
def test_a_claim_with_a_strange_address_fails_in_words(url: str) -> None:
    with pytest.raises(TryLaterError):
        post_enrolment(url, {})
