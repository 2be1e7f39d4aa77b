"""Processes kept running: started, watched, started again, stopped in order."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from doorstep_shared.errors import TryLaterError

# A process that dies at once is tried again more and more slowly.
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
# One that has run this long has proved itself.
STEADY_S: Final = 10.0
POLL_S: Final = 0.02

RUN_MARK: Final = "DOORSTEP_RUN"
LOGS: Final = "logs"


class ProcessFailedError(TryLaterError):
    """A process of the stack did not come up."""


@dataclass(frozen=True, slots=True)
class Program:
    """How to start a process.

    Attributes:
        name: As people know it, ``broker``.
        command: Program and arguments.
        environment: Added to a bare environment; secrets go here, not into arguments.
        log: Where its output goes.
        stop_s: How long it may take to end after SIGTERM.
        most_bytes: It is ended and started again when it holds more memory than this;
            None lets it.
    """

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_s: float = 20.0
    most_bytes: int | None = None


class Supervised:
    """One program, running; started again whenever it dies unasked.

    Attributes:
        program: What runs; another one takes its place at the next start.
        restarts: How often it was started again.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.restarts = 0
        self._stopping = threading.Event()
        self._process = self._spawn()
        self._watcher = threading.Thread(
            target=self._watch, name=f"watch-{program.name}", daemon=True
        )
        self._watcher.start()

    @property
    def pid(self) -> int:
        """Return the process id of the present run."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether the present run has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the present run with SIGKILL, as a crash would; it is started again."""
        self._process.kill()

    def signal(self, number: int) -> None:
        """Send the present run a signal; harmless when it has ended."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it for good: SIGTERM, then SIGKILL after the program's time to stop."""
        self._stopping.set()
        # The watcher may be between two runs; whatever it started last is what ends.
        self._watcher.join(timeout=LONGEST_PAUSE_S + 1)
        self._process.terminate()
        try:
            self._process.wait(self.program.stop_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait_until(self, is_ready: Callable[[], bool], timeout_s: float) -> None:
        """Return when ``is_ready`` says so.

        Raises:
            ProcessFailedError: It did not within ``timeout_s``.
        """
        give_up_at = time.monotonic() + timeout_s
        while not is_ready():
            if time.monotonic() > give_up_at:
                raise ProcessFailedError(
                    f"the {self.program.name} did not come up within {timeout_s:.0f} s",
                    safe="What it wrote so far is kept.",
                    do=f"tail {self.program.log}        (says why)",
                )
            time.sleep(POLL_S)

    def _watch(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            started_at = time.monotonic()
            while self._process.poll() is None:
                if self._stopping.wait(POLL_S):
                    return
                if self._holds_too_much():
                    self._process.kill()
            if time.monotonic() - started_at > STEADY_S:
                pause_s = FIRST_PAUSE_S
            if self._stopping.wait(pause_s):
                return
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            self.restarts += 1
            self._process = self._spawn()

    def _holds_too_much(self) -> bool:
        most_bytes = self.program.most_bytes
        return most_bytes is not None and resident_bytes(self.pid) > most_bytes

    def _spawn(self) -> subprocess.Popen[bytes]:
        return spawn(self.program)


def spawn(program: Program) -> subprocess.Popen[bytes]:
    """Return ``program`` started, its output appended to its log.

    It runs in a session of its own, so that Ctrl-C reaches the supervisor
    alone, which then ends everything in order.
    """
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        return subprocess.Popen(  # our own commands
            program.command,
            env=own_environment(program.log) | dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def own_environment(log: Path) -> dict[str, str]:
    """Return what a process with this log gets of our environment, and the mark of its run.

    Nothing that would steer it. By the mark, the next run finds what a killed one left.
    """
    names = ("PATH", "HOME", "LANG", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return kept | {RUN_MARK: str(log.parent)}


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds; 0 if it has ended, or where /proc is missing."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def run_to_end(program: Program, timeout_s: float = 60) -> None:
    """Run ``program`` once.

    Raises:
        ProcessFailedError: It failed, or took longer than ``timeout_s``.
    """
    process = spawn(program)
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    if code != 0:
        raise ProcessFailedError(
            f"the {program.name} failed with code {code}",
            do=f"tail {program.log}        (says why)",
        )


def free_ports(count: int, *, below: int = 32_000) -> list[int]:
    """Return ``count`` loopback ports that nothing listens on, each below ``below``.

    SeaweedFS takes each port plus 10,000 too, so both must exist and be free.
    """
    found: list[int] = []
    for port in _candidates(below):
        if is_free(port) and is_free(port + 10_000):
            found.append(port)
        if len(found) == count:
            return found
    raise ProcessFailedError("there are not enough free ports on this machine")


def is_free(port: int) -> bool:
    """Return whether nothing listens on loopback ``port``."""
    with socket.socket() as probe:
        # As servers do: a port that only waits out its last connections is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def claim_port(port: int) -> socket.socket | None:
    """Return a claim on a port that will be listened on later, for as long as it is open.

    Only those who ask for it here know of a claim. It is a name that the kernel forgets
    with the process, however that ends.

    Returns:
        None if another process has claimed the port.
    """
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0doorstep-port-{port}")
    except OSError:
        claim.close()
        return None
    return claim


def is_unclaimed(port: int) -> bool:
    """Return whether nothing listens on loopback ``port`` or has claimed it."""
    if not is_free(port) or (claim := claim_port(port)) is None:
        return False
    claim.close()
    return True


def is_listening(port: int) -> bool:
    """Return whether something accepts connections on loopback ``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        with suppress(OSError):
            probe.connect(("127.0.0.1", port))
            return True
    return False


def _candidates(below: int) -> list[int]:
    """Return ports in an order that differs from run to run, so that two stacks seldom meet."""
    lowest, span = 20_000, below - 20_000
    start = int.from_bytes(os.urandom(2), "big") % span
    return [lowest + (start + step) % span for step in range(span)]
