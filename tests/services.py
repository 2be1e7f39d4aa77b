"""The real broker and the real object store, each in a folder of its own, on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_cloud.store.objects import ObjectStore, connect_objects
from doorstep_shared.errors import DoorstepError
from doorstep_shared.ids import DeviceId
from doorstep_shared.topics import acl_lines

ROOT = Path(__file__).parent.parent
START_S = 40.0
ACCESS_KEY = "doorbell"
SECRET_KEY = "a-secret-of-tests"
BUCKET = "clips"


def program(name: str) -> str:
    """Return where a program is: of this checkout, or of this machine."""
    found = shutil.which(
        name, path=f"{ROOT}/.tools/bin:{ROOT}/.venv/bin:{os.environ['PATH']}:/usr/sbin"
    )
    if found is None:
        raise FileNotFoundError(f"{name} is missing: make deps")
    return found


def free_ports(count: int) -> list[int]:
    """Return that many loopback ports nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_until(is_so: Callable[[], bool], *, within_s: float = 20.0, what: str = "this") -> None:
    """Return as soon as ``is_so()``; fail after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within_s} s")
        time.sleep(0.01)


class Program:
    """A program under test: started, killed and started again, stopped at the end."""

    def __init__(self, command: Sequence[str], log: Path, **environment: str) -> None:
        self._command = command
        self._log = log
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )

    def end(self, how: signal.Signals) -> None:
        """Send ``how`` and wait for the end."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def pause(self) -> None:
        """Stop it in its tracks: it keeps its sockets and answers nobody."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class SeaweedFs:
    """A running object store."""

    program: Program
    endpoint: str
    store: ObjectStore


@contextmanager
def seaweedfs(folder: Path) -> Iterator[SeaweedFs]:
    """Run the object store until the block ends; a first put has succeeded."""
    ports = free_ports(10)
    names = ("s3", "master", "volume", "filer")
    options = [f"-{name}.port={port}" for name, port in zip(names, ports[:4], strict=True)]
    options += [f"-{name}.port.grpc={port}" for name, port in zip(names, ports[4:8], strict=True)]
    data = folder / "objects"
    data.mkdir()
    command = [
        program("weed"),
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *options,
        f"-admin.port={ports[8]}",
        f"-admin.port.grpc={ports[9]}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        f"-bucket={BUCKET}",
    ]
    endpoint = f"http://127.0.0.1:{ports[0]}"
    store = connect_objects(
        endpoint=endpoint,
        bucket=BUCKET,
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        connections=8,
    )
    run = Program(
        command,
        folder / "weed.log",
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        GOMEMLIMIT="512MiB",
    )
    with run:
        wait_until(lambda: _takes_a_put(endpoint, store), within_s=START_S, what="a first put")
        yield SeaweedFs(run, endpoint, store)


def _takes_a_put(endpoint: str, store: ObjectStore) -> bool:
    try:
        if not httpx.get(f"{endpoint}/healthz", timeout=1).is_success:
            return False
        store.delete("started")
        store.sha256_of("started")
    except httpx.HTTPError:
        return False
    except DoorstepError as error:
        return error.fact == "nothing is stored here"
    return True


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Certificates:
    """The service's own authority, and files of what it issues."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._now = datetime.now(tz=UTC)
        self.authority = Authority.create(self._now)
        self.ca = folder / "ca.pem"
        self.ca.write_text(to_pem(self.authority.certificate))

    def server(self) -> Certificate:
        return self._files(
            "server",
            lambda key: self.authority.issue_server(key, ["127.0.0.1", "localhost"], self._now),
        )

    def ingest(self) -> Certificate:
        return self._files("ingest", lambda key: self.authority.issue_ingest(key, self._now))

    def device(self, device: DeviceId) -> Certificate:
        return self._files(device, lambda key: self.authority.issue_device(key, device, self._now))

    def _files(
        self, name: str, issue: Callable[[ec.EllipticCurvePublicKey], x509.Certificate]
    ) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.certificate.write_text(to_pem(issue(key.public_key())))
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


@dataclass(frozen=True, slots=True)
class Mosquitto:
    """A running broker: TLS 1.2 or later, client certificates, our access list."""

    program: Program
    port: int
    certificates: Certificates


@contextmanager
def mosquitto(folder: Path) -> Iterator[Mosquitto]:
    """Run the broker until the block ends; it takes connections."""
    certificates = Certificates(folder)
    server = certificates.server()
    (port,) = free_ports(1)
    acl = folder / "acl"
    acl.write_text("\n".join(acl_lines("ingest")) + "\n")
    acl.chmod(0o600)
    configuration = folder / "mosquitto.conf"
    lines = [
        f"listener {port} 127.0.0.1",
        f"cafile {certificates.ca}",
        f"certfile {server.certificate}",
        f"keyfile {server.key}",
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        "allow_anonymous false",
        f"acl_file {acl}",
        "retain_available false",
        "persistence false",
        "memory_limit 268435456",
        "max_packet_size 163840",
        "max_inflight_messages 64",
        "max_queued_messages 2048",
        "set_tcp_nodelay true",
        *(["user root"] if os.geteuid() == 0 else []),
    ]
    configuration.write_text("\n".join(lines) + "\n")
    command = [program("mosquitto"), "-c", str(configuration)]
    with Program(command, folder / "mosquitto.log") as run:
        wait_until(lambda: _listens(port), within_s=START_S, what="the broker's first word")
        yield Mosquitto(run, port, certificates)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
