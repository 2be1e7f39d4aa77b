"""`doorstep-cloud` as a process: started, asked over its socket, stopped, started wrongly."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import httpx
import pytest

from doorstep_cloud.__main__ import main
from doorstep_shared.encoding import to_base64url
from doorstep_shared.signing import Kind, sign
from doorstep_shared.statements import sign_statement
from tests.cast import as_json, keyring_files
from tests.people import OWNER, first_statement
from tests.played_s3 import Fault, played_s3
from tests.services import wait_until

COMMAND = (sys.executable, "-W", "error", "-m", "doorstep_cloud")
PATHS = os.pathsep.join(str(Path(p).resolve()) for p in ("cloud", "shared"))
STARTED = "service_started"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Place:
    """A state folder, and the settings that name it."""

    folder: Path
    url: str
    environment: Mapping[str, str]

    def run(self, *words: str) -> Ended:
        """Run a command to its end, in this process: starting another takes a second."""
        out, err = io.StringIO(), io.StringIO()
        mask = os.umask(0)
        with (
            mock.patch.dict(os.environ, self.environment),
            mock.patch.object(sys, "argv", ["doorstep-cloud", *words]),
            redirect_stdout(out),
            redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        os.umask(mask)
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())

    def migrated(self) -> "Place":
        """Bring the folder to where ``all`` starts."""
        assert self.run("migrate").returncode == 0
        return self

    @contextmanager
    def running(self, *, files: int | None = None) -> Iterator["Running"]:
        """Run ``all`` until the block ends; it must end well.

        Args:
            files: How many it may have open; as many as we if None.
        """
        limited = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(files)] if files else []
        process = subprocess.Popen(
            [*limited, *COMMAND, "all"],
            env=dict(self.environment),
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Running(process, [])
        reader = threading.Thread(target=running.read_log)
        reader.start()
        try:
            wait_until(lambda: running.has_said(STARTED), what="the service's start")
            yield running
        finally:
            process.kill()
            process.wait(20)
            reader.join(20)


@dataclass(slots=True)
class Running:
    """The service's process and what it has logged."""

    process: subprocess.Popen[str]
    log: list[str]

    def read_log(self) -> None:
        """Keep what the process says until it ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
        self.process.stderr.close()

    def has_said(self, word: str) -> bool:
        """Return whether the log holds ``word``, or the process has ended without it."""
        assert self.process.poll() is None or self.log, "it ended without a word"
        return any(word in line for line in self.log)

    def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A state folder that is yet to be made, and a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = {
        "STATE_DIR": str(tmp_path / "state"),
        "LISTEN_PORT": str(port),
        "PUBLIC_URL": url,
        # Nobody is there: the service runs, and says so.
        "BROKER_PORT": "9",
        "S3_ENDPOINT": "http://127.0.0.1:9",
    }
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PATHS,
        **{f"DOORSTEP_CLOUD_{name}": value for name, value in settings.items()},
    }
    return Place(tmp_path / "state", url, environment)


def test_from_nothing_to_a_signed_in_owner_and_a_clean_end(place: Place) -> None:
    with place.migrated().running() as running:
        invited = place.run("invite")
        code = invited.stdout.strip()
        assert f"doorstep init {place.url} --invite {code}" in invited.stderr
        session = found_and_sign_in(place.url, code)
        with listening(place.url, session):
            assert running.stop() == 0
    log = "".join(running.log)
    assert "service_stopped" in log
    for secret in (code, session):
        assert secret not in log
    assert not (place.folder / "admin.sock").exists()


def found_and_sign_in(url: str, invite: str) -> str:
    """Found a household and return its owner's session."""
    signed = sign_statement(first_statement(), OWNER.sign)
    with httpx.Client(base_url=url) as client:
        asked = {
            "invite": invite,
            "statement": as_json(signed),
            "keyring": keyring_files([OWNER]),
        }
        assert client.post("/v1/households", json=asked).status_code == 201
        nonce = client.post("/v1/sign-in/challenge", json={}).json()["server_nonce"]
        key = to_base64url(OWNER.sign.public.key_id)
        body = {"aud": url, "client": key, "server_nonce": nonce, "at": 0}
        answer = client.post(
            "/v1/sessions", json={"signed": as_json(sign(Kind.SIGN_IN, body, OWNER.sign))}
        )
        code: str = answer.json()["token"]
        return code


@contextmanager
def listening(url: str, session: str) -> Iterator[None]:
    """Listen to events, as `doorstep listen` does; the service may end it."""
    headers = {"Authorization": f"Bearer {session}"}
    with (
        httpx.Client(base_url=url, timeout=30) as client,
        client.stream("GET", "/v1/events/stream", headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        yield
        assert [line for line in lines if line] == []


def test_while_it_runs_it_answers_its_user_and_holds_its_folder(place: Place) -> None:
    with place.migrated().running() as running:
        assert (place.folder / "admin.sock").stat().st_mode & 0o777 == 0o600
        checked = place.run("check", "--json")
        assert checked.returncode == 1
        parts = {part["name"]: part["is_well"] for part in json.loads(checked.stdout)["parts"]}
        assert parts == {"database": True, "object store": False, "broker": False}
        assert "broker: ingest is not connected" in place.run("check").stdout
        assert json.loads(place.run("invite", "--json").stdout)["public_url"] == place.url
        for command in ("all", "migrate"):
            second = error_of(place.run(command))
            assert f"process {running.process.pid}" in second[0]
            assert "PostgreSQL" in second[2]


def test_a_bucket_that_is_missing_is_said_at_the_start_and_when_asked(place: Place) -> None:
    with played_s3() as store:
        store.fault = Fault.NO_BUCKET
        at_it = {**place.environment, "DOORSTEP_CLOUD_S3_ENDPOINT": store.endpoint}
        other = Place(place.folder, place.url, at_it)
        with other.migrated().running() as running:
            wait_until(lambda: running.has_said("object_store_unwell"), what="a word of the store")
            assert any("make it there, or name another" in line for line in running.log)
            said = other.run("check").stdout
            assert "object store: the object store does not have the service's bucket" in said
            store.fault = None
            wait_until(
                lambda: "object store: well" in other.run("check").stdout,
                what="a store that is well",
            )
            assert running.stop() == 0


def test_a_service_that_was_killed_starts_again(place: Place) -> None:
    with place.migrated().running() as running:
        running.process.kill()
        running.process.wait(20)
    assert (place.folder / "admin.sock").exists()
    assert "no running service" in error_of(place.run("check"))[0]
    with place.running() as running:
        assert httpx.get(f"{place.url}/healthz").json() == {"is_alive": True}
        assert running.stop() == 0


HALF_A_REQUEST = (
    b"POST /v1/sign-in/challenge HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
)


def test_four_hundred_half_requests_stop_nobody(place: Place) -> None:
    address = httpx.URL(place.url)
    with place.migrated().running(files=256) as running, ExitStack() as held:
        for _ in range(400):
            caller = held.enter_context(socket.create_connection((address.host, address.port), 10))
            with suppress(OSError):  # it may be cut before it has spoken
                caller.sendall(HALF_A_REQUEST)
        for _ in range(3):
            # There is no broker and no store; what is asked here is the database.
            health = httpx.get(f"{place.url}/readyz", timeout=10).json()
            assert [part["name"] for part in health["parts"] if part["is_well"]] == ["database"]
        assert place.run("invite").returncode == 0
        assert len(list(Path(f"/proc/{running.process.pid}/fd").iterdir())) < 200
        assert running.stop() == 0
    log = "".join(running.log)
    assert log.count("connections_crowded") == 1
    assert "accept_failed" not in log
    assert "Traceback" not in log


def error_of(ended: Ended) -> list[str]:
    """Return what a failed command said: the fact, what is safe, what to do."""
    assert ended.returncode == 1
    assert ended.stdout == ""
    return ended.stderr.splitlines()


def test_a_start_before_migrating_says_so(place: Place) -> None:
    assert error_of(place.run("all")) == [
        f"doorstep-cloud: there is no state folder at {place.folder}.",
        "Nothing was started.",
        (
            "Do: doorstep-cloud migrate        (makes one there; or name another with "
            "DOORSTEP_CLOUD_STATE_DIR)"
        ),
    ]


def test_a_taken_port_says_so(place: Place) -> None:
    place.migrated()
    port = int(place.environment["DOORSTEP_CLOUD_LISTEN_PORT"])
    with socket.create_server(("127.0.0.1", port)):
        assert error_of(place.run("all")) == [
            f"doorstep-cloud: 127.0.0.1:{port} cannot be listened on: Address already in use.",
            "Nothing was started.",
            "Do: Stop what uses it, or choose another with DOORSTEP_CLOUD_LISTEN_PORT.",
        ]


def test_commands_to_a_service_that_does_not_run_say_so(place: Place) -> None:
    for command in ("invite", "check"):
        said = error_of(place.run(command))
        assert said[0].startswith("doorstep-cloud: no running service answers on")
        assert said[2].startswith("Do: doorstep-cloud all")


def test_a_wrong_setting_says_so(place: Place) -> None:
    wrong = Place(
        place.folder, place.url, {**place.environment, "DOORSTEP_CLOUD_LISTEN_HOST": "192.0.2.1"}
    )
    assert "is not loopback" in error_of(wrong.run("all"))[0]


def test_help_names_every_setting(place: Place) -> None:
    said = place.run("--help").stdout
    for name in place.environment:
        if name.startswith("DOORSTEP_CLOUD_"):
            assert name in said
