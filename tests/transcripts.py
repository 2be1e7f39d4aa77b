"""What a person types and reads when something is wrong, and how the words lead out of it.

A transcript is played in a place of its own: real commands, a real service, nothing else. What
differs from run to run (ports, ids, times, folders) is given a name, so that the rest can be
compared to the letter. `python -m tests.transcripts` writes the golden files anew.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GOLDEN: Final = Path(__file__).parent / "golden" / "transcripts"
CHECKOUT: Final = Path(__file__).parents[1]
WAIT_S: Final = 60.0

# In the order in which they are tried; the first that fits names what it finds.
_NAMES: Final = (
    (re.compile(r"dst_inv_\w+"), "dst_inv_…"),
    (re.compile(r"DS1\.[A-Z2-7]+"), "DS1.…"),
    (re.compile(r"\b[0-9a-f]{2}-[a-z2-7]{26}\b"), "DOORBELL"),
    (re.compile(r"\b[a-z2-7]{26}\b"), "ID"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"PORT=\d+"), "PORT=PORT"),
    (re.compile(r"\d+\.\d+ GB"), "N GB"),
    (re.compile(r"\b\d+ (?=MB are free)"), "N "),
    (re.compile(r"\d+(\.\d+)? s\b"), "N s"),
    (re.compile(r"clock: .*"), "clock: …"),
    (re.compile(r"process \d+|kill \d+"), "process N"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?"), "WHEN"),
    (re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d+ \w+( \d+)?( [\d:]+)?"), "WHEN"),
)


@dataclass(slots=True)
class Place:
    """A folder, an environment, and what was typed and read in it.

    Attributes:
        folder: Stands as ``~`` in the transcript.
        lines: The transcript so far.
    """

    folder: Path
    running: ExitStack
    environment: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    last: str = ""

    def __post_init__(self) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        scripts = str(Path(sys.executable).parent)
        self.environment = {
            **kept,
            "PATH": f"{scripts}{os.pathsep}{kept.get('PATH', os.defpath)}",
            "HOME": str(self.folder),
            "DOORSTEP_HOME": str(self.folder / "owner"),
            "DOORSTEP_CLOUD_STATE_DIR": str(self.folder / "cloud"),
            "DOORSTEP_DEVICE_STATE_DIR": str(self.folder / "doorbell"),
            "DOORSTEP_CLOUD_LISTEN_PORT": str(free_port()),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "200",
        }
        self.environment["DOORSTEP_CLOUD_PUBLIC_URL"] = self.url

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['DOORSTEP_CLOUD_LISTEN_PORT']}"

    def say(self, words: str) -> None:
        """Write what the reader thinks or does beside typing."""
        self.lines.append(f"# {words}")

    def type(self, command: str, *, stdin: str = "", shown: str | None = None) -> str:
        """Type ``command``; its words, and how it ended, are written down."""
        done = subprocess.run(  # noqa: S602  # it is typed into a shell, as a person does
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        self._write(shown or command, done.stdout)
        self.lines.append(f"[exit {done.returncode}]")
        self.last = done.stdout
        return done.stdout

    def start(self, command: str, until: str) -> None:
        """Type ``command`` in another terminal, and read on once it has said ``until``."""
        process = subprocess.Popen(  # noqa: S602  # as above
            f"exec {command}",
            shell=True,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.running.callback(_end, process)
        assert process.stdout is not None
        read: list[str] = []
        for line in process.stdout:
            read.append(line)
            if until in line:
                self._write(f"{command} &", f"… {until} …\n")
                return
        raise AssertionError(f"{command} ended without {until!r}: {''.join(read)}")

    def _write(self, command: str, words: str) -> None:
        self.lines += [f"$ {self._named(command)}", *map(self._named, words.splitlines())]

    def _named(self, line: str) -> str:
        line = line.replace(str(self.folder), "~").replace(str(CHECKOUT), "CHECKOUT")
        for pattern, name in _NAMES:
            line = pattern.sub(name, line)
        return line.rstrip()


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def serve(place: Place) -> None:
    """Start a service; neither broker nor store is needed to found a household."""
    place.type("doorstep-cloud migrate 2> migrated.txt")
    place.start("doorstep-cloud all", until="service_started")


def found(place: Place) -> None:
    """Found a household at a service that runs."""
    invite = re.search(r"dst_inv_\w+", place.type("doorstep-cloud invite"))
    assert invite is not None
    place.type(f"doorstep init {place.url} --invite {invite[0]}")


def no_mosquitto(place: Place) -> None:
    place.environment["DOORSTEP_TOOLS"] = str(place.folder / "nothing-here")
    place.environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    place.type("doorstep-sim up")
    place.say("In the checkout, as it says; this is the part of `make deps` that fetches programs.")
    del place.environment["DOORSTEP_TOOLS"]
    place.type(f"{CHECKOUT}/scripts/fetch-tools")
    place.start("doorstep-sim up --folder demo", until="broker ready")


def port_taken(place: Place) -> None:
    place.type("doorstep-cloud migrate 2> migrated.txt")
    port = int(place.environment["DOORSTEP_CLOUD_LISTEN_PORT"])
    with socket.create_server(("127.0.0.1", port)):
        place.type("doorstep-cloud all")
        place.environment["DOORSTEP_CLOUD_LISTEN_PORT"] = str(free_port())
        place.say("Another port, as it says.")
        place.start("doorstep-cloud all", until="service_started")


def wrong_invitation(place: Place) -> None:
    serve(place)
    place.type(f"doorstep init {place.url} --invite dst_inv_nobodyhasmadethisone")
    place.say("The operator makes one.")
    found(place)


def full_disk(place: Place) -> None:
    small = place.folder / "small"
    small.mkdir()
    place.environment["DOORSTEP_DEVICE_STATE_DIR"] = str(small / "doorbell")
    on_a_small_one = "unshare -rm sh -c 'mount -t tmpfs -o size=1m none small && {}'"
    fill = "head -c 2000000 /dev/zero > small/film.mp4 2>/dev/null; "
    command = "doorstep-device check"
    place.say("On a card of 1 MB that somebody's film has filled.")
    place.type(on_a_small_one.format(fill + command), shown=command)
    place.say("On one with room.")
    place.type(command)


def not_migrated(place: Place) -> None:
    place.type("doorstep-cloud all")
    place.type("doorstep-cloud migrate")
    place.start("doorstep-cloud all", until="service_started")


def service_not_running(place: Place) -> None:
    place.type("doorstep-cloud migrate 2> migrated.txt")
    place.type("doorstep-cloud invite")
    place.start("doorstep-cloud all", until="service_started")
    place.type("doorstep-cloud invite")


def no_household(place: Place) -> None:
    serve(place)
    place.type("doorstep clip list")
    found(place)
    place.type("doorstep clip list")


def service_away(place: Place) -> None:
    with ExitStack() as elsewhere:
        kept, place.running = place.running, elsewhere
        serve(place)
        found(place)
        place.running = kept
    place.say("The service has stopped.")
    place.type("doorstep status")
    place.start("doorstep-cloud all", until="service_started")
    place.type("doorstep status")


def mistyped_claim(place: Place) -> None:
    serve(place)
    found(place)
    claim = re.search(r"DS1\.[A-Z2-7]+", place.type("doorstep device add --timeout 0"))
    assert claim is not None
    # The first of its letters: the last may hold only bits that are filled up and not read.
    begin, letter, rest = claim[0][:4], claim[0][4], claim[0][5:]
    wrong = begin + ("A" if letter != "A" else "B") + rest
    place.type("doorstep-device enrol -", stdin=f"{wrong}\n")
    place.type("doorstep-device enrol -", stdin=f"{claim[0]}\n")


def unknown_setting(place: Place) -> None:
    place.type("doorstep-cloud migrate 2> migrated.txt")
    place.environment["DOORSTEP_CLOUD_LISTEN_PROT"] = "8081"
    place.type("doorstep-cloud all")
    place.type("doorstep-cloud --help | grep -o DOORSTEP_CLOUD_LISTEN_PORT")
    del place.environment["DOORSTEP_CLOUD_LISTEN_PROT"]
    place.start("doorstep-cloud all", until="service_started")


def not_a_video(place: Place) -> None:
    (place.folder / "door.mp4").write_text("#EXTM3U\nhttp://elsewhere/film.ts\n")
    place.type("doorstep-device motion door.mp4 --csv motion.csv")
    place.type("doorstep-device motion dor.mp4 --csv motion.csv")
    place.say("The film itself, from a rendered door.")
    place.type(
        "doorstep-sim scene --seconds 2 --out door-1.mp4 --truth door-1.csv > scene.txt 2>&1"
    )
    place.type("doorstep-device motion door-1.mp4 --csv door-1.mp4")
    place.type("doorstep-device motion door-1.mp4 --csv motion.csv > motion.txt 2>&1")


TRANSCRIPTS: Final[dict[str, Callable[[Place], None]]] = {
    "no-mosquitto": no_mosquitto,
    "port-taken": port_taken,
    "wrong-invitation": wrong_invitation,
    "full-disk": full_disk,
    "not-migrated": not_migrated,
    "service-not-running": service_not_running,
    "no-household": no_household,
    "service-away": service_away,
    "mistyped-claim": mistyped_claim,
    "unknown-setting": unknown_setting,
    "not-a-video": not_a_video,
}


@contextmanager
def place() -> Iterator[Place]:
    """Make a new place, and take everything that was started there with it."""
    # A short path: sockets of the service have to fit into 108 bytes.
    folder = Path(tempfile.mkdtemp(prefix="ds-"))
    try:
        with ExitStack() as running:
            yield Place(folder, running)
    finally:
        shutil.rmtree(folder)


def played(name: str) -> str:
    """Return the transcript of that name, as it goes today."""
    with place() as here:
        TRANSCRIPTS[name](here)
        return "\n".join(here.lines) + "\n"


if __name__ == "__main__":
    for wanted in sys.argv[1:] or TRANSCRIPTS:
        (GOLDEN / f"{wanted}.txt").write_text(played(wanted))
