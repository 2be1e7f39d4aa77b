"""A network camera: a real RTSP server in a process of its own, which can be stopped or killed."""

import itertools
import signal
import socketserver
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import pytest

from doorstep_simulator.processes import free_ports

ROOT: Final = Path(__file__).parents[1]
FPS: Final = 15
_PYTHON: Final = ROOT / ".tools/bin/rtsp-python"


def coded_film(
    *,
    seconds: float,
    size: tuple[int, int] = (320, 180),
    gop_s: float = 1.0,
    options: dict[str, str] | None = None,
) -> list[bytes]:
    """Return the access units of a bright square that walks, as a network camera codes it."""
    width, height = size
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
    codec.time_base, codec.framerate = Fraction(1, FPS), Fraction(FPS)
    codec.thread_count = 1  # one slice a picture
    gop = round(gop_s * FPS)
    codec.options = {
        "preset": "ultrafast",
        "bf": "0",
        "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:repeat-headers=1:annexb=1",
    } | (options or {})
    units = []
    for number in range(round(seconds * FPS)):
        luma = np.full((height * 3 // 2, width), 128, np.uint8)
        luma[:height] = 60
        left = number * 4 % (width - 40)
        luma[height // 3 : 2 * height // 3, left : left + 40] = 230
        frame = av.VideoFrame.from_ndarray(luma, format="yuv420p")
        frame.pts = number
        units += [bytes(packet) for packet in codec.encode(frame)]
    return units + [bytes(packet) for packet in codec.encode(None)]


@dataclass(slots=True)
class RtspServer:
    """The camera, switched on by `start`."""

    folder: Path
    port: int
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """What a doorbell is told, password and all."""
        return f"rtsp://owner:hunter2@127.0.0.1:{self.port}/door"

    def start(self, film: Sequence[bytes]) -> None:
        """Serve ``film`` in a loop; the port is open on return."""
        path = self.folder / "film"
        path.write_bytes(b"".join(struct.pack(">I", len(unit)) + unit for unit in film))
        self._process = subprocess.Popen(
            [_PYTHON, ROOT / "tests/rtsp_server.py", str(self.port), path, str(FPS)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "listening\n"

    def stall(self) -> None:
        """Stop in the middle of it: the connection stands, nothing comes."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Go on after `stall`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Pull the plug; the connection breaks."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


@contextmanager
def network_camera(folder: Path, film: Sequence[bytes] | None = None) -> Iterator[RtspServer]:
    """Have a camera in the network until the block ends; switched on if there is a film."""
    if not _PYTHON.exists():
        pytest.skip("needs an RTSP server: scripts/fetch-rtsp-server")
    (port,) = free_ports(1)
    server = RtspServer(folder, port)
    try:
        if film is not None:
            server.start(film)
        yield server
    finally:
        server.kill()


@dataclass(slots=True)
class ScriptedCamera:
    """What a scripted camera was asked, and where it is."""

    port: int
    asked: list[bytes] = field(default_factory=list)

    def address(self, scheme: str = "rtsp") -> str:
        """What a doorbell is told, password and all."""
        return f"{scheme}://owner:hunter2@127.0.0.1:{self.port}/door"


def described(name: bytes = b"door") -> bytes:
    """Return the answer to DESCRIBE of a camera of that name, less its status and number."""
    sdp = (
        b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=%s\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
        b"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:t\r\n" % name
    )
    return b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s" % (len(sdp), sdp)


def rtp(payload: bytes, number: int, *, at: int = 0, is_last: bool = False) -> bytes:
    """Return one packet, as it lies between the answers of a connection."""
    mark = 0x80 if is_last else 0
    packet = struct.pack(">BBHII", 0x80, 96 | mark, number & 0xFFFF, at, 1) + payload
    return b"$\0" + struct.pack(">H", len(packet)) + packet


def rtp_of(film: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the packets of access units whose NAL units all fit into one."""
    numbers = itertools.count()
    for place, unit in enumerate(film):
        nals = [nal.rstrip(b"\0") for nal in unit.split(b"\0\0\1")[1:]]
        for nal in nals:
            at = place * 90_000 // FPS
            yield rtp(nal, next(numbers), at=at, is_last=nal is nals[-1])


_SCRIPT: Final = {
    b"DESCRIBE": b"RTSP/1.0 200 OK\r\n" + described(),
    b"SETUP": b"RTSP/1.0 200 OK\r\nSession: 1;timeout=60\r\n"
    b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
}
_DONE: Final = b"RTSP/1.0 200 OK\r\n\r\n"


@contextmanager
def scripted_camera(
    script: Mapping[bytes, bytes] | None = None,
    played: Iterable[bytes] = (),
    tls: ssl.SSLContext | None = None,
) -> Iterator[ScriptedCamera]:
    """Be a camera that answers as told and then plays what it is told, to whoever comes.

    Args:
        script: Answers by method; each is given its number here. The others are good ones.
        played: What follows PLAY, as fast as it is taken; then the connection ends.
        tls: What it listens within.
    """
    answers = _SCRIPT | dict(script or {})

    class Answer(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            if tls is not None:
                self.request = tls.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def handle(self) -> None:
            with suppress(OSError):  # whoever asked has gone
                while lines := self._request():
                    method = lines[0].split()[0]
                    number = next(line for line in lines if line.startswith(b"CSeq"))
                    status, _, rest = answers.get(method, _DONE).partition(b"\r\n")
                    self.wfile.write(b"\r\n".join([status, number, rest]))
                    if method == b"PLAY":
                        self.wfile.writelines(played)
                        return

        def _request(self) -> list[bytes]:
            lines = list(iter(lambda: self.rfile.readline().strip(), b""))
            camera.asked += lines
            return lines

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        camera = ScriptedCamera(int(server.server_address[1]))
        with _serving(server):
            yield camera


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer every request at a port of loopback with these bytes; yield the port."""

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server, _serving(server):
        yield int(server.server_address[1])


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serve until the block ends."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
