"""A clip from the doorbell's card to stored and receipted, beside an HTTPS PUT of its bytes.

Ours is the whole way: outbox, MQTT over TLS through the real broker, ingest's spool, the
object store, checksum read back, the row committed, a signed receipt on the doorbell. The
peers do less: no announcement, no manifest, no row, no receipt, no resuming. Connections
stand already on both sides; every side reads the same payload from the same disk.
"""

import hashlib
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPSConnection
from itertools import count
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_simulator.object_store import ACCESS_KEY, BUCKET
from doorstep_simulator.processes import free_ports, is_listening
from tests.benchmarks.bell import Bell
from tests.benchmarks.figures import Figure
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.put_server import ACCESS_NAME, SECRET_NAME
from tests.benchmarks.table import Better, Row

CLIP_BYTES = 4 * 1024 * 1024
RUNS = 15
WAIT_S = 30.0
ROOT = Path(__file__).parents[2]


class PutServer:
    """The peer's server as its client sees it: one connection, kept open."""

    def __init__(self, port: int, ca: Path) -> None:
        context = ssl.create_default_context(cafile=str(ca))
        self._connection = HTTPSConnection("127.0.0.1", port, context=context, timeout=WAIT_S)
        self._numbers = count()

    def put(self, where: str, payload: Path, sha256: bytes) -> float:
        """Return the milliseconds until the server has kept the file."""
        started_s = time.monotonic()
        name = f"/{where}/{next(self._numbers)}"
        self._connection.request("PUT", name, body=payload.read_bytes())
        with self._connection.getresponse() as answer:
            said = answer.read().decode()
        took_ms = (time.monotonic() - started_s) * 1000
        if said != sha256.hex():
            raise AssertionError(f"{name} kept other bytes: {answer.status} {said}")
        return took_ms


@contextmanager
def put_server(lab: Lab) -> Iterator[PutServer]:
    """Run the peer's server until the block ends."""
    folder = lab.folder / "put-server"
    folder.mkdir()
    (port,) = free_ports(1)
    ca, certificate, key = _make_certificate(folder)
    command = [sys.executable, "-m", "tests.benchmarks.put_server", str(port)]
    command += [str(certificate), str(key), str(folder), lab.stack.ports.store.endpoint, BUCKET]
    environment = {
        **os.environ,
        ACCESS_NAME: ACCESS_KEY,
        SECRET_NAME: (lab.stack.folder / "store-secret").read_text(),
    }
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        try:
            give_up_s = time.monotonic() + WAIT_S
            while not is_listening(port):
                if time.monotonic() > give_up_s or process.poll() is not None:
                    raise TimeoutError("the peer's server did not come up")
                time.sleep(0.02)
            yield PutServer(port, ca)
        finally:
            process.kill()


def _make_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Return the files of a CA, of a server's certificate, and of its key."""
    now = datetime.now(tz=UTC)
    authority, secret = Authority.create(now), ec.generate_private_key(ec.SECP256R1())
    server = authority.issue_server(secret.public_key(), ["127.0.0.1"], now)
    ca, certificate, key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
    ca.write_text(to_pem(authority.certificate))
    certificate.write_text(to_pem(server))
    key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return ca, certificate, key


class Times:
    """Milliseconds of every turn."""

    def __init__(self) -> None:
        self.announced: list[float] = []
        self.stored: list[float] = []
        self.put: list[float] = []
        self.file: list[float] = []

    def take_turn(self, bell: Bell, server: PutServer) -> None:
        """Deliver one clip by each side."""
        clip = bell.keep_clip(CLIP_BYTES)
        payload = bell.read_payload(clip)
        sha256 = hashlib.sha256(payload.read_bytes()).digest()
        started_s = bell.deliver()
        stored_s = bell.wait_for("clip_stored", clip_id=clip).arrived_s
        announced_s = bell.wait_for("clip_announced", clip_id=clip).arrived_s
        self.announced.append((announced_s - started_s) * 1000)
        self.stored.append((stored_s - started_s) * 1000)
        self.put.append(server.put("object", payload, sha256))
        self.file.append(server.put("file", payload, sha256))


def _measure(lab: Lab) -> Iterator[Row]:
    times, warm_up = Times(), Times()
    with put_server(lab) as server, Bell(lab.make_card("delivering")) as bell:
        warm_up.take_turn(bell, server)
        for _ in range(RUNS):
            times.take_turn(bell, server)
    what = "clip of 4 MiB, until stored and receipted, MQTT over TLS"
    stored, less = Figure(tuple(times.stored)), Better.LESS
    put, file = Figure(tuple(times.put)), Figure(tuple(times.file))
    yield Row("delivery", what, "ms", less, stored, "HTTPS PUT into the same store", put)
    yield Row("delivery-file", what, "ms", less, stored, "HTTPS PUT to a synced file", file)
    what = "the part of it until the manifest is checked, committed and acknowledged"
    yield Row("delivery-announce", what, "ms", less, Figure(tuple(times.announced)))


BENCHES = (Bench(("delivery", "delivery-file", "delivery-announce"), _measure),)
