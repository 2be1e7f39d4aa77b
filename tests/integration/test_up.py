"""`up` as a person has it: ready, used from another terminal, ended, taken up again."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from doorstep_simulator.folder import processes_of
from tests.running import SIMULATOR

QUICKLY = ("--scene", "7:18:320", "--speed", "4")
PATIENCE_S = 60


class Running:
    """One `up` without a terminal; what it tells is read as it comes."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [str(SIMULATOR), "up", "--folder", str(folder), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )
        self.told: list[str] = []
        assert self.process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stderr,))
        self._reader.start()

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")

    def wait_for(self, words: str) -> str:
        """Return the line with ``words`` once it is told, and forget what came before it."""
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            for number, line in enumerate(self.told):
                if words in line:
                    del self.told[: number + 1]
                    return line
            assert self.process.poll() is None, "".join(self.told)
            time.sleep(0.02)
        raise AssertionError(f"{words!r} was not told:\n{''.join(self.told)}")

    def end(self, number: int) -> float:
        """Send a signal; return how many seconds the end took."""
        began = time.monotonic()
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        self.process.wait(30)
        self._reader.join()
        for stream in (self.process.stdin, self.process.stderr):
            assert stream is not None
            stream.close()
        return time.monotonic() - began

    def _read(self, stream: IO[str]) -> None:
        self.told.extend(iter(stream.readline, ""))


@contextmanager
def up(folder: Path, *options: str) -> Iterator[Running]:
    running = Running(folder, *options)
    try:
        yield running
    finally:
        if running.process.returncode is None:
            running.end(signal.SIGTERM)


@contextmanager
def taken(port: int) -> Iterator[None]:
    """Listen on ``port``, unless somebody does already."""
    with ExitStack() as held:
        with suppress(OSError):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


def shell(folder: Path, *commands: str) -> "subprocess.CompletedProcess[str]":
    """Type commands in another terminal, after the `eval` line."""
    line = f'eval "$({SIMULATOR} env --folder {folder})"'
    work = folder / "elsewhere"
    work.mkdir(exist_ok=True)
    return subprocess.run(
        ["/bin/bash", "-c", "\n".join(["set -e", line, *commands])],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.timeout(180)
def test_up_is_used_from_another_terminal_and_taken_up_again_even_when_killed(
    tmp_path: Path,
) -> None:
    with taken(8080), up(tmp_path, *QUICKLY) as running:
        running.wait_for("button pressed")
        ready = running.wait_for("ready: the API is at http:")
        assert "a first ring's clip is stored; port 8080 was taken" in ready

        typed = shell(
            tmp_path,
            "doorstep key export > me.txt",
            'curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/keyring.age"'
            " | age -d -i me.txt > household.txt",
            'curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/clips/latest/file.age"'
            " | age -d -i household.txt > clip.mp4",
            'curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/clips/$ID" > clip.json',
            "stat -c %a me.txt",
            "doorstep-cloud check > checked.txt",
            "doorstep-cloud backup vault > copied.txt",
            "doorstep-device check",
        )
        assert typed.returncode == 0, typed.stderr
        assert typed.stdout == "600\n"
        assert "Set: API=http://127.0.0.1:" in typed.stderr
        assert "umask 077" in typed.stderr
        assert "DOORSTEP_CLOUD_STATE_DIR  DOORSTEP_DEVICE_STATE_DIR" in typed.stderr
        copied = Path((tmp_path / "elsewhere" / "copied.txt").read_text().strip())
        assert copied.is_relative_to(tmp_path / "cloud")
        video = (tmp_path / "elsewhere" / "clip.mp4").read_bytes()
        assert video[4:8] == b"ftyp"
        first = json.loads((tmp_path / "elsewhere" / "clip.json").read_text())
        assert (first["kind"], first["state"]) == ("ring", "stored")

        again = subprocess.run(
            [str(SIMULATOR), "up", "--folder", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert again.returncode == 1
        assert "one runs already" in again.stderr

        running.type("network off")
        running.wait_for("doorbell not connected")
        running.type("press")
        running.wait_for("button pressed")
        running.type("network on")
        running.wait_for("ring: stored, confirmed")

        assert running.end(signal.SIGINT) < 15
        assert running.process.returncode == 0
        assert any("object store stopped" in line for line in running.told)
        assert processes_of(tmp_path) == []

    assert "no stack runs" in shell(tmp_path, "true").stderr

    with up(tmp_path, *QUICKLY) as running:
        assert "the ring clips of last time are stored" in running.wait_for("ready: the API")
        # Nobody had to ring, be founded, or be enrolled again.
        assert not any("founded" in line or "enrolled" in line for line in running.told)
        listed = shell(tmp_path, "doorstep clip list --json")
        assert first["id"] in {clip["id"] for clip in json.loads(listed.stdout)}
        running.end(signal.SIGKILL)

    left = processes_of(tmp_path)
    assert left
    with up(tmp_path, *QUICKLY) as running:
        running.wait_for("service ready")
        assert not set(left) & set(processes_of(tmp_path))
        assert running.end(signal.SIGTERM) < 15
        assert running.process.returncode == 130  # it was not ready yet
        assert processes_of(tmp_path) == []
