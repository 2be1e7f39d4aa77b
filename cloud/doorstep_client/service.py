"""The service's HTTP API, as this person's computer calls it.

Every answer comes in by `Service._asked`: the status must be the one expected, no
redirect is followed, nothing packed is unpacked, and no more is read than the
answer may hold. Models in, families of errors out. Nothing the service says is
believed here; `household` and `clips` check it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self, TypeAlias, TypeVar

import httpx
from httpx_sse import EventSource, SSEError
from pydantic import BaseModel

from doorstep_client.answers import Answer, Problem, read_answer
from doorstep_client.errors import (
    ConflictError,
    NotThereError,
    OddAnswerError,
    OpenLineError,
    ServiceUnreachableError,
    SignedOutError,
)
from doorstep_shared.errors import DoorstepError, RefusedError
from doorstep_shared.signing import Signed

M = TypeVar("M", bound=BaseModel)

Progress: TypeAlias = Callable[[int, int | None], None]
"""Is told bytes received and bytes in all, where known."""

TIMEOUT: Final = httpx.Timeout(20, connect=10)
# A comment comes every 15 s on an idle stream; three missed ones mean a dead line.
STREAM_TIMEOUT: Final = httpx.Timeout(50, connect=10)

# The longest answer of ours, a page of statements, is a fifth of this.
MAX_JSON_BYTES: Final = 8 * 1024 * 1024
MAX_PROBLEM_BYTES: Final = 64 * 1024
MAX_SENT_EVENT_BYTES: Final = 64 * 1024

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_OK, _CREATED, _NO_CONTENT = 200, 201, 204
_FIRST_ERROR = 400
_UNAUTHORISED, _NOT_FOUND, _CONFLICT = 401, 404, 409
_PATIENCE = {429, 502, 503, 504}

_BLANK_LINES = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Service:
    """One service at one address; use it as a context manager.

    Raises:
        OpenLineError: The address is not https, and not this computer.

    Attributes:
        url: Without a slash at its end.
        token: A session or API token; None before signing in.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = _checked(url)
        self.token = token
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, model: type[M], **parameters: str | int | None) -> M:
        """Return the ``model`` at ``path``.

        Raises:
            ServiceUnreachableError, SignedOutError, NotThereError, RefusedError.
            OddAnswerError: What came is something else.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        with self._asked("GET", path, _OK, params=given) as answer:
            return _model_in(answer, model)

    def get_bytes(self, path: str, limit_bytes: int, progress: Progress | None = None) -> bytes:
        """Return the bytes at ``path``, at most ``limit_bytes``.

        Raises:
            ServiceUnreachableError, SignedOutError, NotThereError, RefusedError.
            OddAnswerError: The answer is longer than that.
        """
        with self._asked("GET", path, _OK) as answer:
            return _bytes_in(answer, limit_bytes, progress)

    def post(self, path: str, model: type[M], body: Mapping[str, object]) -> M:
        """Return the ``model`` that posting ``body`` to ``path`` answers."""
        with self._asked("POST", path, _CREATED, json=body) as answer:
            return _model_in(answer, model)

    def put(self, path: str, model: type[M], body: Mapping[str, object]) -> M:
        """Return the ``model`` that putting ``body`` to ``path`` answers."""
        with self._asked("PUT", path, _OK, json=body) as answer:
            return _model_in(answer, model)

    def post_signed(self, path: str, signed: Signed) -> None:
        """Post a signed container to ``path``."""
        headers = {"Content-Type": "application/json"}
        with self._asked(
            "POST", path, _CREATED, content=signed.encode(), headers=headers
        ) as answer:
            _model_in(answer, Answer)

    def delete(self, path: str) -> None:
        """Ask the service to remove what is at ``path``."""
        with self._asked("DELETE", path, _NO_CONTENT):
            return

    def delete_for(self, path: str, model: type[M]) -> M:
        """Return the ``model`` that removing what is at ``path`` answers."""
        with self._asked("DELETE", path, _OK) as answer:
            return _model_in(answer, model)

    def stream(self, path: str, last_id: str | None = None) -> Iterator[str]:
        """Yield the data of each event as the service sends them, until the line breaks.

        The first item is empty: the service is listening to us.

        Raises:
            ServiceUnreachableError, SignedOutError, RefusedError.
            OddAnswerError: An event is longer than any of ours.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        with self._asked("GET", path, _OK, headers=headers, timeout=STREAM_TIMEOUT) as answer:
            # Whatever charset it names: that could be any codec Python has, even one that unpacks.
            answer.encoding = "utf-8"
            answer.stream = _ShortEvents(answer.stream)
            yield ""
            for event in EventSource(answer).iter_sse():
                if event.data:
                    yield event.data

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        expected: int,
        **options: Any,  # noqa: ANN401  # httpx's own options
    ) -> Iterator[httpx.Response]:
        """Open the answer to a request; nothing of its body is read yet."""
        headers = self._headers() | options.pop("headers", {})
        with (
            self._translated(),
            self._http.stream(
                method, path, headers=headers, follow_redirects=False, **options
            ) as answer,
        ):
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise OddAnswerError("the service packed its answer, though it was asked not to")
            if answer.status_code >= _FIRST_ERROR:
                raise error_in(answer.status_code, _start_of(answer, MAX_PROBLEM_BYTES))
            if answer.status_code != expected:
                raise OddAnswerError(
                    f"the service answered {method} with {answer.status_code}, not {expected}"
                )
            yield answer

    def _headers(self) -> dict[str, str]:
        # A packed answer of a megabyte may unfold into gigabytes.
        plain = {"Accept-Encoding": "identity"}
        return plain | ({"Authorization": f"Bearer {self.token}"} if self.token else {})

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, httpx.InvalidURL, SSEError) as error:
            raise ServiceUnreachableError(
                f"the service at {self.url} does not answer ({str(error) or type(error).__name__})",
                safe="Nothing was changed; your doorbell keeps what it records on its card.",
                do=f"curl {self.url}/healthz        (says whether it runs)",
            ) from error


class _ShortEvents(httpx.SyncByteStream):
    """A stream of server-sent events, each of bounded length.

    Their reader keeps what came since the last blank line: that and one piece
    of the line (64 KiB) is the most it ever holds.
    """

    def __init__(self, inner: httpx.SyncByteStream | httpx.AsyncByteStream) -> None:
        if not isinstance(inner, httpx.SyncByteStream):
            raise TypeError("a client that does not wait has another kind of stream")
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        event = b""
        for piece in self._inner:
            event += piece
            event = event[max(_end_of_last(mark, event) for mark in _BLANK_LINES) :]
            if len(event) > MAX_SENT_EVENT_BYTES:
                raise OddAnswerError("the service sent an event that does not end")
            yield piece

    def close(self) -> None:
        self._inner.close()


def _end_of_last(mark: bytes, data: bytes) -> int:
    found = data.rfind(mark)
    # The last line end may itself be half of a blank line: it stays.
    return 0 if found < 0 else found + len(mark) // 2


def _checked(url: str) -> str:
    """Return ``url`` without a slash at its end, if what is sent there stays private."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise OpenLineError(f"{url!r} is no address") from error
    is_private = parts.scheme == "https" or (parts.scheme == "http" and parts.host in LOOPBACK)
    if not is_private:
        raise OpenLineError(
            f"{url} is not an https address",
            safe="Nothing was sent.",
            do="use the address that begins with https://",
        )
    return url.rstrip("/")


def error_in(status: int, body: bytes) -> DoorstepError:
    """Return the error that an answer of the service means: a problem document (RFC 9457)."""
    try:
        problem = read_answer(Problem, body, "this")
    except OddAnswerError:
        problem = Problem()
    fact = problem.title or f"the service said {status}"
    return _family(status)(fact, safe=problem.detail, do=problem.do)


def _family(status: int) -> type[DoorstepError]:
    named = {_UNAUTHORISED: SignedOutError, _NOT_FOUND: NotThereError, _CONFLICT: ConflictError}
    if status in _PATIENCE:
        return ServiceUnreachableError
    return named.get(status, RefusedError)


def _model_in(answer: httpx.Response, model: type[M]) -> M:
    request = answer.request
    asked = f"{request.method} {request.url.path}"
    return read_answer(model, _bytes_in(answer, MAX_JSON_BYTES), asked)


def _bytes_in(answer: httpx.Response, limit_bytes: int, progress: Progress | None = None) -> bytes:
    data = _start_of(answer, limit_bytes, progress)
    if len(data) > limit_bytes:
        raise OddAnswerError(f"the service sent more than the {limit_bytes:,} bytes expected")
    return data


def _start_of(answer: httpx.Response, limit_bytes: int, progress: Progress | None = None) -> bytes:
    """Return the body, or as much of it as shows that it is longer than that."""
    received = bytearray()
    for piece in answer.iter_bytes():
        received += piece
        if len(received) > limit_bytes:
            break
        if progress is not None:
            progress(len(received), limit_bytes)
    return bytes(received)
