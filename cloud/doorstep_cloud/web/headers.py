"""Headers on every answer, and one log line about it."""

import time
from typing import Final

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

_log = structlog.get_logger(__name__)


class AnswerHeaders:
    """Middleware: adds what is missing of `SECURITY`, and logs the answer.

    The log line has the route's template and no more of the address: never
    an id, a query, a token, or where the request came from.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY.items():
                    headers.setdefault(name, value)
                _log.info(
                    "request_answered",
                    method=scope["method"],
                    route=getattr(scope.get("route"), "path", None),
                    status=message["status"],
                    ms=round((time.monotonic() - began) * 1000, 1),
                )
            await send(message)

        await self._app(scope, receive, send_with_headers)
