"""The pinned packages: exact, hashed, without an address, and enough."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PINNED = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?P<marker> ; [^\\]+)? \\")
HASH = re.compile(r" {4}--hash=sha256:[0-9a-f]{64}( \\)?")


def lines() -> list[str]:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def pinned() -> dict[str, str]:
    found = (PINNED.fullmatch(line) for line in lines())
    return {match["name"]: match["version"] for match in found if match}


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    chosen = [name for name in extras if name != "pi"]  # picamera2 comes with the Pi's own system
    texts = project["dependencies"] + [text for extra in chosen for text in extras[extra]]
    requirements = map(Requirement, texts)
    return [requirement for requirement in requirements if requirement.name != "doorstep"]


def test_every_line_is_an_exact_version_or_a_hash() -> None:
    odd = [line for line in lines() if not PINNED.fullmatch(line) and not HASH.fullmatch(line)]
    assert odd == []


def test_every_version_has_a_hash() -> None:
    before = ["", *lines()]
    bare = [
        package
        for package, line in zip(before, [*lines(), ""], strict=True)
        if PINNED.fullmatch(package) and not HASH.fullmatch(line)
    ]
    assert bare == []


def test_no_line_names_an_address() -> None:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"https?:|index|--find-links|@", text)


def test_everything_the_extras_ask_for_is_pinned_within_its_bounds() -> None:
    versions = pinned()
    wrong = [str(each) for each in wanted() if versions.get(each.name, "0") not in each.specifier]
    assert wrong == []
