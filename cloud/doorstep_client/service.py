"""The service's HTTP API, as this person's computer calls it.

Turns every answer into ours at this edge: models in, families of errors out.
Nothing the service says is believed here; `household` and `clips` check it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self, TypeAlias

import httpx
from httpx_sse import SSEError, connect_sse

from doorstep_client.errors import (
    ConflictError,
    NotThereError,
    OpenLineError,
    ServiceUnreachableError,
    SignedOutError,
)
from doorstep_shared.errors import BadMessageError, DoorstepError, RefusedError
from doorstep_shared.signing import Signed

Progress: TypeAlias = Callable[[int, int | None], None]
"""Is told bytes received and bytes in all, where known."""

TIMEOUT: Final = httpx.Timeout(20, connect=10)
# A comment comes every 15 s on an idle stream; three missed ones mean a dead line.
STREAM_TIMEOUT: Final = httpx.Timeout(50, connect=10)
MAX_DOWNLOAD_BYTES: Final = 34 * 1024 * 1024

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

_UNAUTHORISED, _NOT_FOUND, _CONFLICT = 401, 404, 409
_PATIENCE = {429, 502, 503, 504}


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

    def get(self, path: str, **parameters: str | int | None) -> Any:  # noqa: ANN401  # JSON, checked by its reader
        """Return the JSON at ``path``.

        Raises:
            ServiceUnreachableError, SignedOutError, NotThereError, RefusedError.
        """
        given = {name: value for name, value in parameters.items() if value is not None}
        return _json(self._send("GET", path, params=given))

    def get_bytes(self, path: str, progress: Progress | None = None) -> bytes:
        """Return the bytes at ``path``, at most 34 MiB.

        Raises:
            ServiceUnreachableError, SignedOutError, NotThereError, RefusedError.
            BadMessageError: The answer is longer than anything of ours.
        """
        with self._translated(), self._http.stream("GET", path, headers=self._headers()) as answer:
            if answer.is_error:
                answer.read()
                raise error_in(answer)
            total = int(answer.headers.get("content-length", 0)) or None
            received = bytearray()
            for piece in answer.iter_bytes():
                received += piece
                if len(received) > MAX_DOWNLOAD_BYTES:
                    raise BadMessageError("the service sent more than a clip can hold")
                if progress is not None:
                    progress(len(received), total)
            return bytes(received)

    def post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401  # JSON, checked by its reader
        """Return the JSON that posting ``body`` to ``path`` answers."""
        return _json(self._send("POST", path, json=body))

    def post_signed(self, path: str, signed: Signed) -> Any:  # noqa: ANN401  # JSON, checked by its reader
        """Return the JSON that posting a signed container answers."""
        headers = {"Content-Type": "application/json"}
        return _json(self._send("POST", path, content=signed.encode(), headers=headers))

    def delete(self, path: str) -> None:
        """Ask the service to remove what is at ``path``."""
        self._send("DELETE", path)

    def stream(self, path: str, last_id: str | None = None) -> Iterator[tuple[str, str, str]]:
        """Yield ``(id, event, data)`` as the service sends them, until the line breaks.

        The first item is ``("", "open", "")``: the service is listening to us.

        Raises:
            ServiceUnreachableError, SignedOutError, RefusedError.
        """
        headers = self._headers() | ({"Last-Event-ID": last_id} if last_id else {})
        with (
            self._translated(),
            connect_sse(self._http, "GET", path, headers=headers, timeout=STREAM_TIMEOUT) as source,
        ):
            if source.response.is_error:
                source.response.read()
                raise error_in(source.response)
            yield "", "open", ""
            for event in source.iter_sse():
                yield event.id, event.event, event.data

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own options
        headers = self._headers() | options.pop("headers", {})
        with self._translated():
            answer = self._http.request(method, path, headers=headers, **options)
        if answer.is_error:
            raise error_in(answer)
        return answer

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

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


def error_in(answer: httpx.Response) -> DoorstepError:
    """Return the error that an answer of the service means: a problem document (RFC 9457)."""
    problem = _problem(answer)
    fact = problem.get("title") or f"the service said {answer.status_code}"
    family = _family(answer.status_code)
    return family(fact, safe=problem.get("detail", ""), do=problem.get("do", ""))


def _family(status: int) -> type[DoorstepError]:
    named = {_UNAUTHORISED: SignedOutError, _NOT_FOUND: NotThereError, _CONFLICT: ConflictError}
    if status in _PATIENCE:
        return ServiceUnreachableError
    return named.get(status, RefusedError)


def _problem(answer: httpx.Response) -> dict[str, str]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    fields = found if isinstance(found, dict) else {}
    return {name: text for name, text in fields.items() if isinstance(text, str)}


def _json(answer: httpx.Response) -> Any:  # noqa: ANN401  # JSON, checked by its reader
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise BadMessageError("the service answered something that is not JSON") from error
