"""How long the stack takes to start, beside the same programs started bare.

Bare means: plain Mosquitto without TLS or rights, plain `weed mini` without synced
puts, and an application of one route under uvicorn. What the stack adds is in the
difference: certificates, migrations, the list of doorbells, syncing, waiting for readiness.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from doorstep_simulator.processes import free_ports, is_listening
from doorstep_simulator.stack import Stack
from doorstep_simulator.tools import find_program
from tests.benchmarks.figures import Figure
from tests.benchmarks.lab import Bench, Lab, draw_ports
from tests.benchmarks.table import Better, Row

RUNS = 3
WAIT_S = 60.0
POLL_S = 0.02  # as the stack's own
ROOT = Path(__file__).parents[2]

# Part, as the stack tells it; what it is; the peer.
PARTS = {
    "service set up": ("set-up", "stack, first start: keys, certificates, databases", None),
    "broker": ("broker", "stack: broker, to listening", "Mosquitto, bare"),
    "object store": (
        "store",
        "stack: object store, beside the set-up",
        "weed mini, bare",
    ),
    "service": ("service", "stack: service, to ready", "uvicorn with one route"),
}

Times = dict[str, float]


def _start_ours(folder: Path) -> Times:
    """Return seconds of each part, and of all."""
    times: Times = {}
    started_s = before_s = time.perf_counter()

    def tell(text: str) -> None:
        nonlocal before_s
        part = next((part for part in PARTS if re.match(rf"{part}( ready)? in ", text)), None)
        if part is None or "all" in times:
            return
        # The store comes up from the beginning, beside the others; they follow one another.
        since_s = started_s if part == "object store" else before_s
        before_s = time.perf_counter()
        times[part] = before_s - since_s

    with Stack(folder, ports=draw_ports(), tell=tell):
        times["all"] = time.perf_counter() - started_s
    return times


def _start_bare(folder: Path) -> Times:
    """Return the same of the bare programs, started all at once."""
    folder.mkdir()
    broker, api, *store = free_ports(7)
    times: Times = {}
    uvicorn = [sys.executable, "-m", "uvicorn", "tests.benchmarks.one_route:app"]
    programs: dict[str, tuple[list[str], str | int]] = {
        "broker": ([str(find_program("mosquitto")), "-p", str(broker)], broker),
        "service": ([*uvicorn, "--port", str(api)], f"http://127.0.0.1:{api}/"),
        "object store": (_weed(folder, store), f"http://127.0.0.1:{store[0]}/healthz"),
    }
    with ExitStack() as running, (folder / "log").open("ab") as log:
        started_s = time.perf_counter()
        for command, _ in programs.values():
            process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=ROOT, env=_environment()
            )
            running.callback(_end, process)
        waiting = {name: where for name, (_, where) in programs.items()}
        while waiting:
            for name in [name for name, where in waiting.items() if _is_up(where)]:
                del waiting[name]
                times[name] = time.perf_counter() - started_s
            if time.perf_counter() - started_s > WAIT_S:
                raise TimeoutError(f"{', '.join(waiting)} did not come up")
            time.sleep(POLL_S)
        times["all"] = max(times.values())
    return times


def _weed(folder: Path, ports: list[int]) -> list[str]:
    names = ("s3", "master", "volume", "filer", "admin")
    options = [f"-{name}.port={port}" for name, port in zip(names, ports, strict=True)]
    quiet = ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-master.telemetry=false"]
    loopback = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    return [str(find_program("weed")), "mini", f"-dir={folder}", *loopback, *options, *quiet]


def _environment() -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "bare", "AWS_SECRET_ACCESS_KEY": "bare-bare-bare"}
    return {**os.environ, **keys}


def _is_up(where: str | int) -> bool:
    if isinstance(where, int):
        return is_listening(where)
    try:
        with urlopen(where, timeout=2) as answer:  # noqa: S310  # loopback, http
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    # Its data is thrown away, and an orderly end takes the store seconds.
    process.send_signal(signal.SIGKILL)
    process.wait()


def _measure(lab: Lab) -> Iterator[Row]:
    ours: dict[str, list[float]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    numbers = count()
    for turn in range(RUNS):
        lab.tell(f"start: turn {turn + 1} of {RUNS}")
        for start, kept in ((_start_ours, ours), (_start_bare, theirs)):
            for part, seconds in start(lab.folder / f"start-{next(numbers)}").items():
                kept[part].append(seconds)
    yield _row(
        "all", "stack, first start: all of it", ours["all"], "all three, bare", theirs["all"]
    )
    for part, (name, what, peer) in PARTS.items():
        yield _row(name, what, ours[part], peer, theirs[part])


def _row(name: str, what: str, ours: list[float], peer: str | None, theirs: list[float]) -> Row:
    beside = Figure(tuple(theirs)) if theirs else None
    return Row(f"start-{name}", what, "s", Better.LESS, Figure(tuple(ours)), peer, beside)


BENCHES = (Bench(("start-all", *(f"start-{name}" for name, _, _ in PARTS.values())), _measure),)
