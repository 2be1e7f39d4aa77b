"""The stack's broker and its object store by themselves, each in a folder of its own.

They are started as the stack starts them: what is tried here is what ships.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_cloud.store.objects import ObjectStore, connect_objects
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import DeviceId
from doorstep_simulator.broker import ACCESS, BrokerFiles, broker_program
from doorstep_simulator.object_store import (
    ACCESS_KEY,
    BUCKET,
    StorePorts,
    StoreSecret,
    store_program,
    sync_every_put,
)
from doorstep_simulator.processes import Supervised, free_ports, is_listening

START_S: Final = 40.0
SECRET_KEY: Final = "a-secret-of-tests"


def wait_until(is_so: Callable[[], bool], *, within_s: float = 20.0, what: str = "this") -> None:
    """Return as soon as ``is_so()``; fail after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within_s:.0f} s")
        time.sleep(0.01)


@dataclass(slots=True)
class SeaweedFs:
    """A running object store."""

    process: Supervised
    endpoint: str
    store: ObjectStore

    @contextmanager
    def away(self) -> Iterator[None]:
        """Crash the store and keep it down until the block ends."""
        crash(self.process)
        yield
        self.process = Supervised(self.process.program)


@contextmanager
def seaweedfs(folder: Path) -> Iterator[SeaweedFs]:
    """Run the object store until the block ends; a first put has succeeded."""
    ports, log = StorePorts(*free_ports(5)), folder / "object-store.log"
    store = store_at(ports.endpoint, connections=8)
    program = store_program(folder / "objects", ports, StoreSecret(SECRET_KEY), log)
    running = SeaweedFs(Supervised(program), ports.endpoint, store)
    try:
        running.process.wait_until(lambda: _takes_a_put(store), START_S)
        sync_every_put(ports, log)
        yield running
    finally:
        crash(running.process)


def store_at(endpoint: str, *, secret: str = SECRET_KEY, connections: int = 1) -> ObjectStore:
    """Return a connection to the object store at ``endpoint``, or to where none is."""
    return connect_objects(
        endpoint=endpoint,
        bucket=BUCKET,
        access_key=ACCESS_KEY,
        secret_key=secret,
        connections=connections,
    )


@cache
def store_nowhere() -> ObjectStore:
    """Return a connection to an object store that is away."""
    return store_at("http://127.0.0.1:9")


def _takes_a_put(store: ObjectStore) -> bool:
    try:
        store.put_if_absent("started", b"", hashlib.sha256(b"").digest())
    except DoorstepError:
        return False
    return True


class Certificates:
    """The service's own authority, and files of what it issues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now = datetime.now(tz=UTC)
        self.authority = Authority.create(self._now)
        self._ca = folder / "ca.pem"
        self._ca.write_text(to_pem(self.authority.certificate))

    def server(self) -> BrokerFiles:
        return self._files(
            "server",
            lambda key: self.authority.issue_server(key, ["127.0.0.1", "localhost"], self._now),
        )

    def ingest(self) -> BrokerFiles:
        return self._files("ingest", lambda key: self.authority.issue_ingest(key, self._now))

    def device(self, device: DeviceId) -> BrokerFiles:
        return self._files(device, lambda key: self.authority.issue_device(key, device, self._now))

    def _files(
        self, name: str, issue: Callable[[ec.EllipticCurvePublicKey], x509.Certificate]
    ) -> BrokerFiles:
        key = ec.generate_private_key(ec.SECP256R1())
        files = BrokerFiles(self._ca, self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.certificate.write_text(to_pem(issue(key.public_key())))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


@dataclass(frozen=True, slots=True)
class Mosquitto:
    """A running broker: TLS 1.2 or later, client certificates, its own list of doorbells."""

    process: Supervised
    port: int
    certificates: Certificates
    access: Path


@contextmanager
def mosquitto(folder: Path) -> Iterator[Mosquitto]:
    """Run the broker until the block ends; it takes connections."""
    certificates = Certificates(folder)
    (port,) = free_ports(1)
    log = folder / "broker.log"
    process = Supervised(broker_program(folder / "broker", port, certificates.server(), log))
    try:
        process.wait_until(lambda: is_listening(port), START_S)
        yield Mosquitto(process, port, certificates, folder / "broker" / ACCESS)
    finally:
        crash(process)


def crash(process: Supervised) -> None:
    """End ``process`` as a crash would, and for good."""
    process.kill()
    process.stop()
