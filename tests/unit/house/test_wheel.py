"""The wheel holds every file of the six packages and nothing else, and its commands start."""

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, PathDistribution
from pathlib import Path
from zipfile import Path as ZipPath
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = {
    "doorstep_client": "cloud",
    "doorstep_cloud": "cloud",
    "doorstep_device": "device",
    "doorstep_hardware": "hardware",
    "doorstep_shared": "shared",
    "doorstep_simulator": "simulator",
}
COMMANDS = {
    "doorstep": "doorstep_client",
    "doorstep-cloud": "doorstep_cloud",
    "doorstep-device": "doorstep_device",
    "doorstep-sim": "doorstep_simulator",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel with the installed hatchling: no network, no isolated environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def contents(wheel: Path) -> dict[str, bytes]:
    with ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> PathDistribution:
    (info,) = (each for each in ZipPath(wheel).iterdir() if each.name.endswith(".dist-info"))
    return PathDistribution(info)


def scripts(wheel: Path) -> dict[str, EntryPoint]:
    found = metadata(wheel).entry_points.select(group="console_scripts")
    return {each.name: each for each in found}


def test_it_holds_the_six_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in contents(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_it_holds_every_file_of_a_package_byte_for_byte(wheel: Path, package: str) -> None:
    base = ROOT / PACKAGES[package]
    ours = {
        path.relative_to(base).as_posix(): path.read_bytes()
        for path in (base / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    theirs = {
        name: body for name, body in contents(wheel).items() if name.startswith(f"{package}/")
    }
    assert theirs == ours


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_may_read_a_package(wheel: Path, package: str) -> None:
    assert f"{package}/py.typed" in contents(wheel)


def test_the_pins_travel_with_their_reader(wheel: Path) -> None:
    assert "doorstep_hardware/pins.toml" in contents(wheel)


def test_the_licence_and_the_notice_travel_along(wheel: Path) -> None:
    names = {name.split(".dist-info/")[-1] for name in contents(wheel)}
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= names


def test_it_brings_the_four_commands_that_people_type(wheel: Path) -> None:
    found = {name: each.value for name, each in scripts(wheel).items()}
    assert found == {name: f"{package}.__main__:main" for name, package in COMMANDS.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_leads_to_a_function(wheel: Path, command: str) -> None:
    entry = scripts(wheel)[command]
    main: Callable[[], None] = getattr(import_module(entry.module), entry.attr)
    assert callable(main)
