"""An S3-compatible store in memory that does wrong as it is told, on a loopback port."""

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from doorstep_cloud.store.objects import ObjectStore, connect_objects

ANSWER_S: Final = 0.5


class Fault(Enum):
    """What goes wrong; the value says it to people who read code."""

    ANSWER_500 = "everything is answered with 500"
    SLOW_DOWN = "everything is answered with 503 SlowDown"
    SLOW = "nothing is answered in time"
    CUT_UPLOAD = "the line is cut in the middle of what is put"
    CUT_ANSWER = "the line is cut in the middle of what is read"
    WRONG_CHECKSUM = "another checksum is told than that of what is kept"
    WRONG_BYTES = "other bytes are kept than were put, under their true checksum"
    SHORT = "less is kept than was put"
    LOST = "what was put is gone when it is asked for"
    NO_BUCKET = "there is no bucket"
    WRONG_KEYS = "nobody is let in"
    OCCUPIED = "everything put is said to be there already, with other bytes"


_XML: Final = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>played</Message></Error>"
_REFUSALS: Final = {
    Fault.ANSWER_500: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.NO_BUCKET: (404, "NoSuchBucket"),
    Fault.WRONG_KEYS: (403, "SignatureDoesNotMatch"),
}


class PlayedS3:
    """The store.

    Attributes:
        held: Bytes by path.
        fault: What goes wrong from now on; None for nothing.
        asked: Methods of the requests that came.
    """

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.fault: Fault | None = None
        self.asked: list[str] = []
        self.is_over = threading.Event()
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @cached_property
    def connection(self) -> ObjectStore:
        """Return a connection to it that asks once, and has little patience."""
        return connect_objects(
            endpoint=self.endpoint,
            bucket="clips",
            access_key="key",
            secret_key="secret",
            connections=4,
            answer_s=ANSWER_S,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Answer until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            self.is_over.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(20)


@contextmanager
def played_s3() -> Iterator[PlayedS3]:
    """Run a store until the block ends."""
    store = PlayedS3()
    with store.running():
        yield store


class _Handler(BaseHTTPRequestHandler):
    store: PlayedS3
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: a test has its own words."""

    def _do(self, carry_out: Callable[[bytes], None]) -> None:
        self.store.asked.append(self.command)
        fault = self.store.fault
        length = int(self.headers.get("Content-Length", 0))
        if fault is Fault.CUT_UPLOAD and self.command == "PUT":
            self.rfile.read(length // 2)
            self._cut()
            return
        if self.headers.get("Expect", "").lower() == "100-continue" and length == 0:
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(length)
        if fault is Fault.SLOW:
            self.store.is_over.wait(10)
            self._cut()
        elif fault in _REFUSALS:
            status, code = _REFUSALS[fault]
            self._answer(status, _XML.format(code=code).encode())
        else:
            carry_out(body)

    def do_PUT(self) -> None:  # the name the library calls
        self._do(self._put)

    def do_HEAD(self) -> None:
        self._do(self._head)

    def do_GET(self) -> None:
        self._do(self._get)

    def do_DELETE(self) -> None:
        self._do(self._delete)

    def _put(self, body: bytes) -> None:
        store, fault = self.store, self.store.fault
        told = self.headers.get("x-amz-checksum-sha256", "")
        if base64.b64encode(hashlib.sha256(body).digest()).decode() != told:
            self._answer(400, _XML.format(code="BadDigest").encode())
            return
        if fault is Fault.OCCUPIED:
            store.held[self.path] = b"of somebody else"
        if self.path in store.held:
            self._answer(412, _XML.format(code="PreconditionFailed").encode())
            return
        if fault is Fault.WRONG_BYTES:
            body = bytes([body[0] ^ 1]) + body[1:]
        if fault is Fault.SHORT:
            body = body[:-1]
        if fault is not Fault.LOST:
            store.held[self.path] = body
        self._answer(200)

    def _head(self, _: bytes) -> None:
        if self.path.rstrip("/") == "/clips":
            self._answer(200)
        elif (body := self.store.held.get(self.path)) is None:
            self._answer(404)
        else:
            told = b"other" if self.store.fault is Fault.WRONG_CHECKSUM else body
            digest = base64.b64encode(hashlib.sha256(told).digest()).decode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-amz-checksum-sha256", digest)
            self.end_headers()

    def _get(self, _: bytes) -> None:
        if (body := self.store.held.get(self.path.partition("?")[0])) is None:
            self._answer(404, _XML.format(code="NoSuchKey").encode())
            return
        start, __, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        part = body[int(start) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Range", f"bytes {start}-{last}/{len(body)}")
        self.end_headers()
        if self.store.fault is Fault.CUT_ANSWER:
            self.wfile.write(part[: len(part) // 2])
            self._cut()
        else:
            self.wfile.write(part)

    def _delete(self, _: bytes) -> None:
        self.store.held.pop(self.path, None)
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
