"""Between a network camera and the library that plays it: one connection, held to its bounds.

The library follows a redirect to any host and hands the password on, and believes any length.
So it speaks to a port of loopback, and what stands behind that port connects once, to the host
and port of the address. A camera's answers are read here and written anew: no redirect, no
header that nobody asked for and no long answer reaches the library.
"""

import re
import selectors
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from doorstep_device.ports.camera import CameraFailedError

NAME: Final = "the RTSP camera"

# An answer with its body, which lists streams: 50,000 of them would be 250 MiB in the library.
MOST_ANSWER_BYTES: Final = 64 * 1024
# 32 Mbit/s, and what a camera keeps for whoever comes.
_MOST_BYTES_S: Final = 4 * 1024 * 1024
_MOST_AT_ONCE: Final = 16 * 1024 * 1024
_CONNECT_TIMEOUT_S: Final = 8.0
_SEND_TIMEOUT_S: Final = 6.0
_READ_BYTES: Final = 256 * 1024
_LOOPBACK: Final = "127.0.0.1"
_PORTS: Final = {"rtsp": 554, "rtsps": 322}

_INTERLEAVED: Final = ord("$")
_INTERLEAVED_HEAD: Final = 4
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_STATUS: Final = re.compile(rb"RTSP/\d\.\d +(\d{3})\b")
_REQUEST: Final = re.compile(rb"[A-Z_]+ \S+ RTSP/\d\.\d")
_UNPRINTABLE: Final = re.compile(rb"[\x00-\x1f\x7f]")
_LENGTH: Final = b"content-length"
_PASSED_ON: Final = {
    b"authentication-info",
    b"content-base",
    b"content-type",
    b"cseq",
    b"public",
    b"range",
    b"rtp-info",
    b"session",
    b"transport",
    b"www-authenticate",
}


_REDIRECT: Final = (
    "sends us to another address, which is not followed",
    "write the stream's own address, as its manual tells it",
)
_NOT_RTSP: Final = ("answers something else than RTSP", "look at the port and the path")
_TOO_LONG: Final = ("answers at greater length than any camera", "look at the address")
_TOO_MUCH: Final = (
    "sends more than 32 Mbit/s",
    "set it to 720p and 2 Mbit/s, or take its second stream",
)

_RINGS: Final = "The button rings all the while; what was recorded before is kept."


def failed(why: str, do: str) -> CameraFailedError:
    """Return the failure of an RTSP camera.

    Args:
        why: Goes on from the camera's name.
        do: What helps.
    """
    return CameraFailedError(f"{NAME} {why}", safe=_RINGS, do=do)


class Answers:
    """What a camera sends, cut into answers and packets; only whole ones come out."""

    def __init__(self) -> None:
        """Begin where the connection does."""
        self._waiting = bytearray()

    def feed(self, data: bytes) -> bytes:
        """Take what came, and return what the library may have of it.

        Raises:
            CameraFailedError: A redirect, an answer too long, or no RTSP.
        """
        self._waiting += data
        passed = bytearray()
        while (unit := self._next()) is not None:
            passed += unit
        return bytes(passed)

    def _next(self) -> bytes | None:
        """Return the next unit as it is passed on; None until there is a whole one."""
        while self._waiting.startswith((b"\r", b"\n")):
            del self._waiting[0]
        if not self._waiting:
            return None
        if self._waiting[0] == _INTERLEAVED:
            if len(self._waiting) < _INTERLEAVED_HEAD:
                return None
            return self._cut(_INTERLEAVED_HEAD + int.from_bytes(self._waiting[2:4], "big"))
        end = _HEAD_END.search(self._waiting, 0, MOST_ANSWER_BYTES)
        if end is not None:
            return self._answer(end.end())
        if len(self._waiting) >= MOST_ANSWER_BYTES:
            raise failed(*_TOO_LONG)
        return None

    def _answer(self, head_bytes: int) -> bytes | None:
        """Return the answer at the front, written anew."""
        first, *rest = bytes(self._waiting[:head_bytes]).splitlines()
        status = _STATUS.match(first)
        if status is None and not _REQUEST.match(first):
            raise failed(*_NOT_RTSP)
        if status is not None and status[1].startswith(b"3"):
            raise failed(*_REDIRECT)
        headers = [_header(line) for line in rest if b":" in line]
        body_bytes = _length(headers)
        if head_bytes + body_bytes > MOST_ANSWER_BYTES:
            raise failed(*_TOO_LONG)
        whole = self._cut(head_bytes + body_bytes)
        if whole is None:
            return None
        if status is None:
            return b""  # a camera's own request: nothing it may ask for is ours to grant
        kept = [b"%s: %s" % header for header in headers if header[0] in _PASSED_ON]
        length = [b"content-length: %d" % body_bytes] if body_bytes else []
        lines = [b"RTSP/1.0 %s -" % status[1], *kept, *length, b"", b""]
        return b"\r\n".join(lines) + whole[head_bytes:]

    def _cut(self, size: int) -> bytes | None:
        if len(self._waiting) < size:
            return None
        unit = bytes(self._waiting[:size])
        del self._waiting[:size]
        return unit


class Allowance:
    """How much may come: a constant rate, and what was not used of it for a while."""

    def __init__(self, now_s: float) -> None:
        """Begin with a full one."""
        self._left = float(_MOST_AT_ONCE)
        self._now_s = now_s

    def take(self, size: int, now_s: float) -> None:
        """Use up ``size`` bytes.

        Raises:
            CameraFailedError: There were fewer.
        """
        gained = (now_s - self._now_s) * _MOST_BYTES_S
        self._left, self._now_s = min(self._left + gained, _MOST_AT_ONCE) - size, now_s
        if self._left < 0:
            raise failed(*_TOO_MUCH)


class RtspRelay:
    """One connection to one camera, for one connection from the library.

    Attributes:
        address: What the library opens instead: the same user, password and path, at loopback.
        refused: Why the camera was cut off; None if it was not.
    """

    def __init__(self, address: str, camera: socket.socket, listener: socket.socket) -> None:
        """Stand between the two; `connect` makes them."""
        self.address = _at(urlsplit(address), int(listener.getsockname()[1]))
        self.refused: CameraFailedError | None = None
        self._camera = camera
        self._listener = listener
        self._thread = threading.Thread(target=self._run, name="camera-relay", daemon=True)

    @classmethod
    def connect(cls, address: str) -> Self:
        """Connect to the camera, and listen for the library.

        Raises:
            OSError: The camera cannot be reached.
        """
        camera = _connected(urlsplit(address))
        relay = cls(address, camera, socket.create_server((_LOOPBACK, 0), backlog=1))
        relay._thread.start()
        return relay

    def close(self) -> None:
        """Break both connections, if they still are."""
        for end in (self._listener, self._camera):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join(_SEND_TIMEOUT_S)

    def _run(self) -> None:
        """Pass on until either end is gone; the other one is closed then."""
        # What the library makes of a closed connection is told by the feed.
        with suppress(OSError), self._camera:
            with self._listener:
                self._listener.settimeout(_CONNECT_TIMEOUT_S)
                library, _ = self._listener.accept()
            with library:
                library.settimeout(None)
                try:
                    self._pass_on(library)
                except CameraFailedError as error:
                    self.refused = error

    def _pass_on(self, library: socket.socket) -> None:
        answers, allowance = Answers(), Allowance(time.monotonic())
        with selectors.DefaultSelector() as ends:
            ends.register(self._camera, selectors.EVENT_READ)
            ends.register(library, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in ends.select()}
                if library in ready:
                    asked = library.recv(_READ_BYTES)
                    if not asked:
                        return
                    self._camera.sendall(asked)
                if self._camera in ready:
                    came = _received(self._camera)
                    if came is None:
                        continue
                    if not came:
                        return
                    allowance.take(len(came), time.monotonic())
                    library.sendall(answers.feed(came))


def _connected(place: SplitResult) -> socket.socket:
    """Return a connection to the address's host and port, within TLS if it asks for that."""
    host = place.hostname or ""
    port = place.port or _PORTS[place.scheme]
    camera = socket.create_connection((host, port), _CONNECT_TIMEOUT_S)
    try:
        camera.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if place.scheme == "rtsps":
            camera = _tls().wrap_socket(camera, server_hostname=host)
        camera.settimeout(_SEND_TIMEOUT_S)
    except BaseException:
        camera.close()
        raise
    return camera


def _tls() -> ssl.SSLContext:
    """Return TLS as cameras have it: their certificates are their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _received(camera: socket.socket) -> bytes | None:
    """Return what came; None if that was TLS's own, and nothing of the camera's.

    The selector sees the connection and not what TLS made of it.
    """
    camera.settimeout(0)
    try:
        came = camera.recv(_READ_BYTES)
        while isinstance(camera, ssl.SSLSocket) and camera.pending():
            came += camera.recv(_READ_BYTES)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    finally:
        camera.settimeout(_SEND_TIMEOUT_S)
    return came


def _at(place: SplitResult, port: int) -> str:
    """Return the same address at a port of loopback, in the clear."""
    user, is_named, _ = place.netloc.rpartition("@")
    netloc = f"{user}{is_named}{_LOOPBACK}:{port}"
    return place._replace(scheme="rtsp", netloc=netloc).geturl()


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name.strip().lower(), _UNPRINTABLE.sub(b"", value).strip()


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    """Return how long the body is.

    Raises:
        CameraFailedError: It is told twice, or is no number.
    """
    told = {value for name, value in headers if name == _LENGTH} or {b"0"}
    value = told.pop()
    if told or not value.isdigit():
        raise failed(*_NOT_RTSP)
    if len(value) > len(str(MOST_ANSWER_BYTES)):
        raise failed(*_TOO_LONG)
    return int(value)
