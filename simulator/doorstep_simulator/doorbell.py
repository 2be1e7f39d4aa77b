"""A simulated doorbell as its owner's hands see it: power, network, and a button."""

import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from doorstep_simulator.door import Door
from doorstep_simulator.facts import Fact, FactLog, parse_fact
from doorstep_simulator.playback import Film, Showing
from doorstep_simulator.processes import own_environment

STOP_S: Final = 10.0
# As the service manager of a real doorbell does.
_RESTART_AFTER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a simulated doorbell is plugged into.

    Attributes:
        state: Its card: the folder that survives power cuts.
        broker_host: Where the line of its network leads.
        broker_port: The same.
        film: What happens before its camera.
        log: Its facts and its last words go here.
        showing: How a video is shown.
        speed: How much faster than the world its clock runs.
    """

    state: Path
    broker_host: str
    broker_port: int
    film: Film
    log: Path
    showing: Showing = field(default_factory=Showing)
    speed: float = 1.0

    def command(self, *, is_offline: bool) -> list[str]:
        """Return the command that is this doorbell, switched on."""
        options = {
            "--state": self.state,
            "--broker": f"{self.broker_host}:{self.broker_port}",
            "--source": self.film,
            "--speed": f"{self.speed:g}",
            "--hold-first": f"{self.showing.hold_first_s:g}",
            "--hold-last": f"{self.showing.hold_last_s:g}",
            "--longest": f"{self.showing.longest_s:g}",
        }
        words = [str(word) for option in options.items() for word in option]
        module = "doorstep_simulator.doorbell_process"
        return [sys.executable, "-m", module, *words, *(["--offline"] if is_offline else [])]


class Doorbell:
    """One doorbell; a power cut is SIGKILL, power on is a new process on the same card.

    Attributes:
        facts: What it has said, and what was done to it, over all its runs.
        door: What they add up to.
        filmed_s: How far into its film the camera is, by its clock; 0 before.
    """

    def __init__(self, wiring: Wiring) -> None:
        """Plug nothing in yet."""
        self.wiring = wiring
        self.facts: Final = FactLog()
        self.door = Door()
        self.filmed_s = 0.0
        self.facts.hear(self._follow)
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._is_wanted = False
        self._is_offline = False
        # Hands and the restarting reader may reach for it at once.
        self._lock = threading.RLock()

    @property
    def is_on(self) -> bool:
        """Whether it has power and runs."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id of the present run; None when it is off."""
        process = self._process
        return None if process is None else process.pid

    @property
    def is_offline(self) -> bool:
        """Whether its network is cut."""
        return self._is_offline

    def power_on(self) -> None:
        """Switch it on; harmless when it is."""
        with self._lock:
            if self.is_on:
                return
            self._is_wanted = True
            self._process = self._spawn()
            self._say("power_restored")
            self._reader = threading.Thread(
                target=self._read, args=(self._process,), name="doorbell-facts", daemon=True
            )
            self._reader.start()

    def cut_power(self) -> None:
        """End it this instant, as a blackout does; harmless when it is off."""
        with self._lock:
            self._is_wanted = False
            if self._process is None:
                return
            self._process.kill()
            self._finish()
            self._say("power_cut")

    def stop(self) -> None:
        """Ask it to end what it does and switch it off; harmless when it is off."""
        with self._lock:
            self._is_wanted = False
            if self._process is None:
                return
            self._send("stop")
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._finish()

    def press(self) -> Fact:
        """Press the button for a moment; return the press as a fact.

        A doorbell without power does not ring.
        """
        pressed = Fact("button_pressed", time.monotonic(), time.time_ns() // 1_000_000)
        self._send("press")
        self.facts.add(pressed)
        return pressed

    def cut_network(self) -> None:
        """Reset its connections and let no new one through."""
        self._is_offline = True
        self._send("network off")

    def mend_network(self) -> None:
        """Let it connect again."""
        self._is_offline = False
        self._send("network on")

    def step_clock(self, seconds: float) -> None:
        """Put its clock on, or back below 0, until it starts anew."""
        self._send(f"clock {seconds:g}")

    def fill_card(self) -> None:
        """Let its card take no further byte; until it starts anew at the latest."""
        self._send("card full")

    def free_card(self) -> None:
        """Let its card take bytes again."""
        self._send("card free")

    def signal(self, number: int) -> None:
        """Send it a signal; it is started again if that ends it. Harmless when it is off."""
        process = self._process
        if process is not None:
            process.send_signal(number)

    def _follow(self, fact: Fact) -> None:
        self.door = self.door.feed(fact)
        if fact.event == "frame_scored":
            self.filmed_s = fact.number("t_s")

    def _spawn(self) -> subprocess.Popen[str]:
        self.wiring.log.parent.mkdir(parents=True, exist_ok=True)
        with self.wiring.log.open("a") as log:
            # In a session of its own: Ctrl-C reaches whoever holds it, who then ends it.
            return subprocess.Popen(
                self.wiring.command(is_offline=self._is_offline),
                env=own_environment(self.wiring.log),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
                start_new_session=True,
            )

    def _send(self, command: str) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        with suppress(OSError, ValueError):  # it is going down: its reader says so
            process.stdin.write(command + "\n")
            process.stdin.flush()

    def _finish(self) -> None:
        """Wait until it has ended and everything it said has been read."""
        process, self._process = self._process, None
        if process is None:
            return
        process.wait()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was still to be written went with it
                    stream.close()

    def _read(self, process: subprocess.Popen[str]) -> None:
        """Take in its facts until it ends; start it again if nobody asked it to."""
        if process.stdout is None:
            raise RuntimeError("the doorbell was started without a pipe")
        with self.wiring.log.open("a") as log:
            for line in process.stdout:
                if (fact := parse_fact(line, time.monotonic())) is not None:
                    if fact.event != "frame_scored":
                        log.write(line)
                        log.flush()
                    self.facts.add(fact)
        code = process.wait()
        if self._is_wanted:
            self._say("doorbell_stopped", code=code)
            time.sleep(_RESTART_AFTER_S)
            self._start_again(process)

    def _start_again(self, process: subprocess.Popen[str]) -> None:
        # Whoever holds the lock joins this thread, so it never waits for it.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._is_wanted and self._process is process:
                self._finish()
                self.power_on()
        finally:
            self._lock.release()

    def _say(self, event: str, **details: int) -> None:
        self.facts.add(Fact(event, time.monotonic(), time.time_ns() // 1_000_000, dict(details)))
