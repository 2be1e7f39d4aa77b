"""The set-up stops first, with one line to type, when it cannot work here."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# What the scripts themselves are made of; everything else of this machine is hidden from them.
TOOLBOX = """
awk basename bash cat chmod comm dirname env find grep id ln mkdir readlink rm sed sleep sort tail
touch uname
"""
GOOD_PYTHON = "exit 0"
PLENTY = "echo head; echo dev 0 0 99999999 0% /"


class Machine:
    """A folder with a checkout's scripts and a PATH on which only what a test adds exists."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.path = folder / "bin"
        self.path.mkdir()
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts")
        (self.checkout / "requirements.txt").write_text("some==1 \\\n")
        for name in TOOLBOX.split():
            found = shutil.which(name)
            assert found is not None, name
            (self.path / name).symlink_to(found)
        self.add("df", PLENTY)
        self.add("python3", GOOD_PYTHON)

    def add(self, name: str, script: str) -> None:
        program = self.path / name
        program.write_text(f"#!/usr/bin/env bash\n{script}\n")
        program.chmod(0o755)

    def add_plugin(self) -> None:
        """Add the broker's plugin, where a program of this PATH has its libraries."""
        folder = self.path.parent / "lib"
        folder.mkdir()
        (folder / "mosquitto_dynamic_security.so").touch()

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        surroundings = {"PATH": str(self.path), "HOME": str(self.checkout)}
        return subprocess.run(
            [str(self.path / "bash"), str(self.checkout / "scripts" / script)],
            env=surroundings,
            capture_output=True,
            text=True,
            check=False,
        )

    def is_untouched(self) -> bool:
        return not (self.checkout / ".venv").exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def line_to_type(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""  # stdout belongs to the command that needed the set-up
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("Do: "))
    return line


def test_an_old_python_is_named_with_the_line_to_type(machine: Machine) -> None:
    machine.add("python3", '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    done = machine.run("set-up")
    assert "sudo apt-get install python3" in line_to_type(done)
    assert "Python 3.9.2" in done.stderr
    assert machine.is_untouched()


def test_a_python_without_venv_is_named_with_the_line_to_type(machine: Machine) -> None:
    machine.add("python3", '[[ "$*" != *ensurepip* ]]')
    assert line_to_type(machine.run("set-up")) == "Do: sudo apt-get install python3-venv"
    assert machine.is_untouched()


def test_a_full_disk_stops_before_anything_is_fetched(machine: Machine) -> None:
    machine.add("df", "echo head; echo dev 0 0 1023999 0% /")
    done = machine.run("set-up")
    assert "free some space" in line_to_type(done)
    assert "999 MB" in done.stderr
    assert machine.is_untouched()
    assert not (machine.checkout / ".tools").exists()


def test_a_processor_without_wheels_is_told_so(machine: Machine) -> None:
    (machine.path / "uname").unlink()
    machine.add("uname", "echo armv7l")
    assert "64-bit" in line_to_type(machine.run("set-up"))
    assert machine.is_untouched()


def test_without_packages_to_fetch_the_line_to_type_comes_first(machine: Machine) -> None:
    machine.add("apt-get", "exit 100")
    machine.add("apt-cache", "exit 100")
    machine.add("dpkg-query", "exit 0")
    line = line_to_type(machine.run("set-up"))
    assert line.startswith("Do: sudo apt-get install ")
    assert "age" in line.split()
    assert machine.is_untouched()


@pytest.mark.parametrize(
    ("installer", "line"),
    [("dnf", "sudo dnf install"), ("pacman", "sudo pacman -S"), ("brew", "brew install")],
)
def test_another_distribution_gets_its_own_line(
    machine: Machine, installer: str, line: str
) -> None:
    machine.add(installer, "exit 0")
    assert line_to_type(machine.run("fetch-tools")).startswith(f"Do: {line} ")


def test_programs_of_this_machine_are_used_as_they_are(machine: Machine) -> None:
    machine.add("mosquitto", "echo mosquitto version 2; exit 3")
    machine.add_plugin()
    for name in ("age", "age-keygen", "curl"):
        machine.add(name, "exit 0")
    done = machine.run("fetch-tools")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((machine.checkout / ".tools/bin").iterdir()) == []


def test_a_broker_that_cannot_keep_doorbells_apart_is_not_used(machine: Machine) -> None:
    machine.add("mosquitto", "echo mosquitto version 2; exit 3")
    for name in ("age", "age-keygen", "curl"):
        machine.add(name, "exit 0")
    machine.add("dnf", "exit 0")
    assert line_to_type(machine.run("fetch-tools")) == "Do: sudo dnf install mosquitto"


def test_without_an_rtsp_server_the_line_to_type_says_that_only_tests_need_it(
    machine: Machine,
) -> None:
    done = machine.run("fetch-rtsp-server")
    if done.returncode == 0:
        pytest.skip("this machine has one")
    assert "gir1.2-gst-rtsp-server-1.0" in line_to_type(done)
    assert "nothing else needs it" in done.stderr
    assert list((machine.checkout / ".tools/bin").iterdir()) == []
