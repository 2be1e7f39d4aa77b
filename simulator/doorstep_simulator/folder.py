"""The folder a run lives in: one run at a time, and nothing left over from the last."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from doorstep_shared.errors import RefusedError
from doorstep_simulator.processes import LOGS, RUN_MARK
from doorstep_simulator.telling import spoken

STACK_FILE: Final = "stack.json"
CLOUD_FOLDER: Final = "cloud"
DOORBELL_FOLDER: Final = "doorbell"
_LEFTOVER_S: Final = 8.0


class AlreadyRunningError(RefusedError):
    """Another run holds the folder."""


def default_folder() -> Path:
    """Return ``.demo`` of the checkout, or of the working folder for an installed package."""
    checkout = Path(__file__).parents[2]
    home = checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()
    return home / ".demo"


def read_stack_url(folder: Path) -> str:
    """Return the address of the API of the stack that runs in ``folder``.

    Raises:
        RefusedError: None was started there.
    """
    try:
        return str(json.loads((folder / STACK_FILE).read_text())["api"])
    except FileNotFoundError as error:
        raise RefusedError(
            f"no stack was started in {folder}", do="make up        (in another terminal)"
        ) from error


@contextmanager
def hold(folder: Path, lock: Path, do: str) -> Iterator[None]:
    """Hold ``folder`` while the block runs, alone, free of an earlier run's processes.

    Args:
        folder: Made if it is missing.
        lock: A file that nobody removes while the folder is in use.
        do: What the person may do when another run holds it.

    Raises:
        AlreadyRunningError: Another run holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise AlreadyRunningError(
                f"one runs already in {spoken(folder)}",
                safe="It was left alone, and nothing else was started.",
                do=do,
            ) from error
        end_leftovers(folder)
        yield


def end_leftovers(folder: Path) -> None:
    """End what a run that was killed left running in ``folder``; only its holder may."""
    left = processes_of(folder)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        give_up_at = time.monotonic() + _LEFTOVER_S
        while (left := [pid for pid in left if _exists(pid)]) and time.monotonic() < give_up_at:
            time.sleep(0.05)


def processes_of(folder: Path) -> list[int]:
    """Return the processes that carry the mark of ``folder``; none without /proc."""
    mark = f"{RUN_MARK}={folder / LOGS}\0".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone already
            if mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def files_below(folder: Path) -> list[Path]:
    """Return the files anywhere below ``folder``, in order; what goes meanwhile is passed over.

    Unlike `Path.rglob`, which raises when a folder goes between being found and being read.
    """
    return sorted(Path(at) / name for at, _, names in os.walk(folder) for name in names)


def _exists(pid: int) -> bool:
    with suppress(OSError):
        # A process that ended and was not waited for is gone as far as we care.
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
