"""A network camera: a real RTSP server in a process of its own, which can be stopped or killed."""

import signal
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer every request at a port of loopback with these bytes; yield the port."""
    import socketserver  # noqa: PLC0415

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
