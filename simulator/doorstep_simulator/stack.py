"""The whole service on a laptop: broker, object store, cloud, kept running.

Loopback only, ports that are free, secrets in files that only their owner
reads. What a run left behind is taken up again: certificates, clips, ports.
"""

import hashlib
import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from doorstep_cloud.app.admin import ask_running
from doorstep_cloud.app.state import ADMIN_SOCKET
from doorstep_cloud.store.objects import ObjectStoreError, connect_objects
from doorstep_shared.errors import DoorstepError
from doorstep_simulator.broker import BrokerFiles, broker_program
from doorstep_simulator.folder import CLOUD_FOLDER, STACK_FILE
from doorstep_simulator.object_store import (
    ACCESS_KEY,
    BUCKET,
    StorePorts,
    StoreSecret,
    store_program,
    sync_every_put,
)
from doorstep_simulator.processes import (
    LOGS,
    Program,
    Supervised,
    claim_port,
    free_ports,
    is_free,
    is_listening,
    is_unclaimed,
    run_to_end,
)
from doorstep_simulator.tools import find_program

API_PORT: Final = 8080
READY_S: Final = 60.0
PUT_S: Final = 5.0
PROBE_KEY: Final = "probe"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ports:
    """Every loopback port of the stack."""

    api: int
    broker: int
    store: StorePorts

    @classmethod
    def draw(cls, api: int | None = None) -> "Ports":
        """Return free ports; the API on ``api``, else 8080 or the next free one."""
        broker, *store = free_ports(6)
        return cls(
            api=api or next(port for port in range(API_PORT, 65_535) if is_unclaimed(port)),
            broker=broker,
            store=StorePorts(*store),
        )

    @classmethod
    def of_last_run(cls, folder: Path) -> "Ports | None":
        """Return the ports that the last stack in ``folder`` had, if all are free again.

        An enrolled doorbell knows the broker by its port.
        """
        try:
            kept = json.loads((folder / STACK_FILE).read_text())["ports"]
            ports = cls(kept["api"], kept["broker"], StorePorts(**kept["store"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        taken = [ports.api, ports.broker, *asdict(ports.store).values()]
        return ports if all(map(is_free, taken)) else None

    @property
    def api_url(self) -> str:
        """Return the address of the API."""
        return f"http://127.0.0.1:{self.api}"


class Stack:
    """The running stack in one folder; use it as a context manager.

    Attributes:
        folder: Everything it writes is below.
        ports: Where it listens.
        broker, store, cloud: Its processes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: Ports | None = None,
        store_endpoint: str | None = None,
        tell: Tell = print,
    ) -> None:
        """Start nothing yet.

        Args:
            folder: See above.
            ports: Where to listen, if they are free; drawn without.
            store_endpoint: Where the service finds the store, if not at the store's own port.
            tell: Told each step.
        """
        self.folder = folder
        self._store_endpoint = store_endpoint
        self._tell = tell
        self._running = ExitStack()
        self.ports = self._claimed(ports or Ports.of_last_run(folder))

    @property
    def cloud_folder(self) -> Path:
        """Return the state folder of the service."""
        return self.folder / CLOUD_FOLDER

    def log(self, name: str) -> Path:
        """Return the log of the process ``name``."""
        return self.folder / LOGS / f"{name}.log"

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.push(self._running)
            self._start()
            undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._running.close()

    def invite(self) -> str:
        """Return a new invitation, asked of the service as its operator would."""
        answer = ask_running(self.cloud_folder / ADMIN_SOCKET, "POST", "/invites")
        return str(answer["invite"])

    def _start(self) -> None:
        self._make_folders()
        # The store takes longest to come up: it does so while the others do.
        began_s = time.monotonic()
        self.store = self._keep(
            store_program(
                self.folder / "objects",
                self.ports.store,
                self.store_secret(),
                self.log("object-store"),
            )
        )
        with self._told("service set up"):
            run_to_end(self._cloud("migrate", "set-up"))
        with self._told("broker ready"):
            self.broker = self._keep(
                broker_program(
                    self.folder / "broker",
                    self.ports.broker,
                    self._broker_files(),
                    self.log("broker"),
                )
            )
            self.broker.wait_until(lambda: is_listening(self.ports.broker), READY_S)
        with self._told("object store ready", began_s):
            self.store.wait_until(lambda: _answers(f"{self.ports.store.endpoint}/healthz"), READY_S)
            sync_every_put(self.ports.store, self.log("object-store"))
            self.store.wait_until(self._does_store_take_objects, READY_S)
        with self._told("service ready"):
            self._start_service()
        self._write_facts()

    def _does_store_take_objects(self) -> bool:
        """Return whether a real put succeeds: after a crash it answers long before it stores."""
        objects = connect_objects(
            endpoint=self.ports.store.endpoint,
            bucket=BUCKET,
            access_key=ACCESS_KEY,
            secret_key=self.store_secret().key,
            connections=1,
            answer_s=PUT_S,
        )
        try:
            objects.put_if_absent(PROBE_KEY, b"", hashlib.sha256().digest())
            objects.delete(PROBE_KEY)
        except ObjectStoreError:
            return False
        return True

    def _start_service(self) -> None:
        """Start the service; on another port where somebody else was quicker to listen."""
        self.cloud = self._keep(self._cloud("all", "cloud"))
        while not self._is_service_ready():
            self.cloud.wait_until(
                lambda: self._is_service_ready() or self._has_lost_its_port(), READY_S
            )
            if self._has_lost_its_port():
                self.ports = self._claimed(replace(self.ports, api=Ports.draw().api))
                self.cloud.program = self._cloud("all", "cloud")

    def _has_lost_its_port(self) -> bool:
        """Return whether the service is down and another program listens in its place."""
        return not self.cloud.is_running and is_listening(self.ports.api)

    def _is_service_ready(self) -> bool:
        """Return whether the service of this very folder is well.

        Its own socket is asked: on the port, another stack's service might answer.
        """
        try:
            found = ask_running(self.cloud_folder / ADMIN_SOCKET, "GET", "/check")
        except DoorstepError:
            return False
        return bool(found["is_ready"])

    def _keep(self, program: Program) -> Supervised:
        """Return ``program`` running; stopped, last started first, when the stack ends."""
        process = Supervised(program)

        def stop() -> None:
            with self._told(f"{program.name} stopped"):
                process.stop()

        self._running.callback(stop)
        return process

    def _claimed(self, wanted: Ports | None) -> Ports:
        """Return ``wanted``, or others, the API's claimed until the stack ends.

        It is listened on seconds from now: a stack that starts meanwhile takes another.
        """
        ports = wanted or Ports.draw()
        while (claim := claim_port(ports.api)) is None:
            ports = replace(ports, api=Ports.draw().api)
        self._running.callback(claim.close)
        return ports

    def _make_folders(self) -> None:
        for folder in (self.folder, self.folder / LOGS, self.cloud_folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _broker_files(self) -> BrokerFiles:
        return BrokerFiles(
            ca=self.cloud_folder / "ca" / "ca.pem",
            certificate=self.cloud_folder / "broker" / "server.pem",
            key=self.cloud_folder / "broker" / "server.key",
        )

    def store_secret(self) -> StoreSecret:
        """Return the secret of the store's one account; drawn on the first call."""
        file = self.folder / "store-secret"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(32))
        return StoreSecret(file.read_text())

    def _cloud(self, command: str, log: str) -> Program:
        return Program(
            name="service",
            command=[str(find_program("doorstep-cloud")), command],
            environment=self._cloud_environment(),
            log=self.log(log),
        )

    def _cloud_environment(self) -> dict[str, str]:
        settings = {
            "state_dir": self.cloud_folder,
            "public_url": self.ports.api_url,
            "listen_host": "127.0.0.1",
            "listen_port": self.ports.api,
            "broker_host": "127.0.0.1",
            "broker_port": self.ports.broker,
            "device_broker_host": "127.0.0.1",
            "device_broker_port": self.ports.broker,
            "s3_endpoint": self._store_endpoint or self.ports.store.endpoint,
            "s3_bucket": BUCKET,
            "s3_access_key": ACCESS_KEY,
            "s3_secret_key": self.store_secret().key,
        }
        return {f"DOORSTEP_CLOUD_{name.upper()}": str(value) for name, value in settings.items()}

    def _write_facts(self) -> None:
        facts = {"api": self.ports.api_url, "ports": asdict(self.ports)}
        (self.folder / STACK_FILE).write_text(json.dumps(facts, indent=1) + "\n")

    @contextmanager
    def _told(self, what: str, began_s: float | None = None) -> Iterator[None]:
        since_s = time.monotonic() if began_s is None else began_s
        yield
        self._tell(f"{what} in {time.monotonic() - since_s:.1f} s")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # loopback, http
            return bool(answer.status == 200)  # noqa: PLR2004  # HTTP's OK
    except (urllib.error.URLError, OSError):
        return False
