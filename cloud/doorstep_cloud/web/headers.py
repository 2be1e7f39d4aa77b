"""Headers on every answer, and one log line and one count about it."""

import time
from collections.abc import Callable
from typing import Final, TypeAlias

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY: Final = {
    # A page that needs more says so itself.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

NoteRequest: TypeAlias = Callable[[str, str | None, int, float], None]
"""Is told method, route's template, status, and the seconds until the answer began."""

_OUR_MISTAKE: Final = 500

_log = structlog.get_logger(__name__)


class AnswerHeaders:
    """Middleware: adds what is missing of `SECURITY`, logs the answer and has it counted.

    The log line has the route's template and no more of the address: never
    an id, a query, a token, or where the request came from.
    """

    def __init__(self, app: ASGIApp, *, note: NoteRequest) -> None:
        self._app = app
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        is_answered = False

        def tell(status: int) -> None:
            nonlocal is_answered
            is_answered = True
            seconds = time.monotonic() - began
            route = getattr(scope.get("route"), "path", None)
            self._note(scope["method"], route, status, seconds)
            _log.info(
                "request_answered",
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
            )

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                tell(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:  # Whoever is further out answers it, and with this.
            if not is_answered:
                tell(_OUR_MISTAKE)
            raise
