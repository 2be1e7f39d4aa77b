"""What the figures were measured on, and how busy it was with other work."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from doorstep_simulator.tools import find_program

LIBRARIES = ("cryptography", "pyrage", "paho-mqtt", "uvicorn", "opencv-python-headless", "av")


def describe_machine() -> list[str]:
    """Return a line each: when, processor, load, versions."""
    system = f"{platform.system()}, Python {platform.python_version()}"
    broker, store = _program_version("mosquitto", "-h"), _program_version("weed", "version")
    return [
        f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC, {system}",
        f"{os.cpu_count()} cores, {_processor()}",
        f"load average before the first row {describe_load()}",
        ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        f"Mosquitto {broker}, SeaweedFS {store}",
    ]


def describe_load() -> str:
    """Return the load averages of 1, 5 and 15 minutes.

    More than the number of cores means that the figures had to share them.
    """
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _program_version(name: str, option: str) -> str:
    # Mosquitto tells its version with its help, and then fails.
    done = subprocess.run(
        [find_program(name), option], capture_output=True, text=True, timeout=20, check=False
    )
    found = re.search(r"\d+\.\d+(?:\.\d+)?", done.stdout + done.stderr)
    return found[0] if found else "of an unknown version"
