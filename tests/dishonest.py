"""A dishonest service: it stands before the real one and changes what it says."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx

Answer = Callable[[bytes], bytes]
"""Returns what is said in place of the honest answer."""

_PASSED_ON = ("Authorization", "Content-Type", "Accept", "Range")


class DishonestService:
    """Answers for another service: as that one does, but for the paths it lies about.

    Attributes:
        url: Where it is asked, as a proxy for plain HTTP.
        lies: What it says, by the end of the path.
        told: Which lies it has told.
    """

    def __init__(self) -> None:
        self.lies: dict[str, Answer] = {}
        self.told: list[str] = []
        self._real = httpx.Client(trust_env=False, timeout=30)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._real.close()

    def lie(self, path: str, answer: Answer) -> None:
        """Say ``answer`` wherever a path ends with ``path``."""
        self.lies[path] = answer

    def ask(self, method: str, url: str, headers: dict[str, str], body: bytes) -> httpx.Response:
        """Return the honest answer, or the lie."""
        real = self._real.request(method, url, headers=headers, content=body)
        path = httpx.URL(url).path
        for end, answer in self.lies.items():
            if method == "GET" and path.endswith(end):
                self.told.append(end)
                return httpx.Response(
                    200,
                    content=answer(real.content),
                    headers={"Content-Type": real.headers.get("Content-Type", "")},
                )
        return real

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
                answer = service.ask(self.command, self.path, headers, body)
                self.send_response(answer.status_code)
                for name in ("Content-Type", "ETag", "Content-Range"):
                    if name in answer.headers:
                        self.send_header(name, answer.headers[name])
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

        return Handler


def in_json(change: Callable[[Any], object]) -> Answer:
    """Return an answer that changes the honest one's JSON."""
    return lambda honest: json.dumps(change(json.loads(honest))).encode()
