"""What a request may be: its body's size, time, depth and coding, and its query's names."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NoReturn

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from doorstep_cloud.web.problems import problem_response
from doorstep_shared.errors import BadMessageError

MAX_BODY_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may be on its way; what it is answered has no such bounds.

    Attributes:
        headers_s: From when a connection is open or its last answer complete to all headers.
        pause_s: Until the next piece of a body.
        body_s: Until all of it: the longest, of 1 MiB, takes 28 s at 0.3 Mbit/s.
    """

    headers_s: float = 20.0
    pause_s: float = 20.0
    body_s: float = 60.0


PATIENCE: Final = Patience()


class UnknownParameterError(BadMessageError):
    """A query parameter that this address does not know."""


class _RefusedBodyError(Exception):
    def __init__(self, status: int, name: str, title: str, *, ends_all: bool = False) -> None:
        super().__init__(title)
        self.status = status
        self.name = name
        self.title = title
        self.headers = {"Connection": "close"} if ends_all else None


class _GoneError(Exception):
    """Whoever asked has closed the connection in the middle of a body."""


class BodyLimit:
    """Middleware: reads each body whole, at most 64 KiB, and looks at it before anybody else.

    One that does not come to its end in time is refused: half a request holds a connection.
    A compressed body is refused: a small one may unfold into a large one.
    JSON with a name twice is refused: two readers would see two requests.

    Args:
        app: What the request goes on to.
        longer_bytes: Paths that take more, and how much.
        patience: How long a body may be on its way.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        longer_bytes: Mapping[str, int] | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        self._app = app
        self._patience = patience
        self._longer_bytes = dict(longer_bytes or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            limit = self._longer_bytes.get(scope["path"], MAX_BODY_BYTES)
            body = await _read_body(Headers(scope=scope), receive, limit, self._patience)
        except _GoneError:
            return
        except _RefusedBodyError as refused:
            answer = problem_response(
                refused.status, refused.name, refused.title, headers=refused.headers
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


class KnownQueries:
    """The query parameters of every operation of an app, as its OpenAPI says.

    Read when the first query comes: building the description takes a while.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @cached_property
    def _names(self) -> Mapping[tuple[str, str], frozenset[str]]:
        return {
            (path, method.upper()): frozenset(
                parameter["name"]
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query"
            )
            for path, operations in self._app.openapi()["paths"].items()
            for method, operation in operations.items()
        }

    def of(self, path: str, method: str) -> frozenset[str]:
        """Return the names that ``method`` knows at the path template ``path``."""
        return self._names.get((path, method), frozenset())


def refuse_unknown_query(request: Request) -> None:
    """Refuse query parameters that the address does not know: a typing error must not widen a list.

    Raises:
        UnknownParameterError: Naming the first of them.
    """
    if not request.query_params:
        return
    queries: KnownQueries = request.app.state.known_queries
    known = queries.of(request.scope["route"].path, request.method)
    for name in request.query_params:
        if name not in known:
            raise UnknownParameterError(
                f"there is no parameter {name[:64]!r} here",
                do=f"It knows: {', '.join(sorted(known)) or 'none'}.",
            )


async def _read_body(
    headers: Headers, receive: Receive, limit_bytes: int, patience: Patience
) -> bytes:
    if headers.get("content-encoding", "identity") != "identity":
        raise _RefusedBodyError(415, "compressed-body", "a request body is not compressed here")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > limit_bytes:
        raise _too_long(limit_bytes)
    try:
        async with asyncio.timeout(patience.body_s):
            body = await _receive_all(receive, limit_bytes, patience.pause_s)
    except TimeoutError as error:
        # What still comes of it is no next request.
        raise _RefusedBodyError(
            408, "too-slow", "the body of this request did not come in time", ends_all=True
        ) from error
    if body:
        _check_json(body)
    return body


async def _receive_all(receive: Receive, limit_bytes: int, pause_s: float) -> bytes:
    body = bytearray()
    is_more = True
    while is_more:
        async with asyncio.timeout(pause_s):
            message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
        if len(body) > limit_bytes:
            raise _too_long(limit_bytes)
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receive that gives ``body`` once, and then whatever else happens."""
    is_given = False

    async def replay() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _check_json(body: bytes) -> None:
    try:
        found = json.loads(
            body, object_pairs_hook=_without_doubles, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise _RefusedBodyError(
            400, "no-json", "this body is not JSON, or says a name twice"
        ) from error
    if _is_deeper(found, MAX_DEPTH):
        raise _RefusedBodyError(
            400, "too-deep", f"this body is nested deeper than {MAX_DEPTH} levels"
        )


def _too_long(limit_bytes: int) -> _RefusedBodyError:
    return _RefusedBodyError(413, "too-long", f"a body has at most {limit_bytes // 1024} KiB here")


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _is_deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        return levels == 0 or any(_is_deeper(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deeper(item, levels - 1) for item in value)
    return False
