"""What the pages tell people to type is there to be typed."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import typer
from typer.core import TyperCommand, TyperGroup
from typer.testing import CliRunner

from doorstep_client.__main__ import app as client_app
from doorstep_cloud.__main__ import app as cloud_app
from doorstep_device.__main__ import app as device_app
from doorstep_simulator.__main__ import app as simulator_app
from doorstep_simulator.block import BLOCK as LINES
from tests.unit.docs.pages import CHECKOUT, PAGES, README, blocks, inline_code, name_of

APPS: Final[dict[str, typer.Typer]] = {
    "doorstep": client_app,
    "doorstep-cloud": cloud_app,
    "doorstep-device": device_app,
    "doorstep-sim": simulator_app,
}
# The pages' own commands may follow another one's words, or a path.
_COMMAND: Final = re.compile(
    r"(?:^|(?<=[\s(\"'/]))(doorstep(?:-cloud|-device|-sim)?)(?= [a-z-])([^|;)\n]*)"
)
_MAKE: Final = re.compile(r"(?:^|(?<=[\s(]))make(?: ([a-z][a-z-]*))?((?: [A-Z]+=\S+)*)$")

# The design's section 10: typed as it stands there, by people who follow any copy of it.
BLOCK: Final = """\
eval "$(.venv/bin/doorstep-sim env)"       # sets API, TOKEN, ID, DOORSTEP_HOME and PATH; says what it set on stderr
doorstep key export > me.txt               # 0600
curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/keyring.age" | age -d -i me.txt > household.txt
curl -fsS -H "Authorization: Bearer $TOKEN" "$API/v1/clips/latest/file.age" | age -d -i household.txt > clip.mp4
"""  # noqa: E501  # verbatim


def lines_to_type(page: Path) -> list[str]:
    """Return what a page shows as code, line by line, without remarks."""
    text = page.read_text()
    shown = [line for block in blocks(text) for line in block.splitlines()]
    return [line.partition("  #")[0].strip() for line in [*shown, *inline_code(text)]]


def commands(page: Path) -> set[tuple[str, str]]:
    """Return the program and the words of each command of ours on a page."""
    found = (match for line in lines_to_type(page) for match in _COMMAND.finditer(line))
    return {(match[1], match[2].strip()) for match in found}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


def problem_with(program: str, words: str) -> str | None:
    """Return why ``program words`` cannot be typed; None if it can."""
    command: object = typer.main.get_command(APPS[program])
    left = shlex.split(words)
    while isinstance(command, TyperGroup):
        if not left:
            return None  # a noun: "doorstep clip" speaks of its commands
        if left == ["--help"]:
            return None
        if left[0] not in command.commands:
            return f"there is no {left[0]!r}"
        command = command.commands[left.pop(0)]
    assert isinstance(command, TyperCommand)
    known = {"--help", "-"}.union(*(parameter.opts for parameter in command.params))
    unknown = [word for word in left if word.startswith("-") and word not in known]
    return f"it takes no {unknown}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_on_a_page_exists_with_its_options(page: Path) -> None:
    problems = {
        f"{program} {words}": problem
        for program, words in commands(page)
        if (problem := problem_with(program, words))
    }
    assert problems == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_on_a_page_exists(page: Path) -> None:
    made = [match for line in lines_to_type(page) if (match := _MAKE.search(line))]
    assert {match[1] for match in made if match[1]} - make_targets() == set()
    handed_on = (CHECKOUT / "Makefile").read_text()
    variables = {pair.partition("=")[0] for match in made for pair in match[2].split()}
    assert {name for name in variables if f"{name}=" not in handed_on} == set()


def test_the_pages_name_commands_of_every_program() -> None:
    """The patterns above find what they are meant to find."""
    programs = {program for page in PAGES for program, _ in commands(page)}
    assert programs == set(APPS)
    assert {"key export > me.txt", "listen"} <= {words for _, words in commands(README)}
    targets = {m[1] for line in lines_to_type(README) if (m := _MAKE.search(line))}
    assert {"demo", "up", "pictures", "deps", "check", "clean"} <= targets


def all_words(command: object, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of all below it."""
    yield words
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from all_words(inner, (*words, name))


@pytest.mark.parametrize("program", APPS)
def test_every_program_explains_each_of_its_commands(program: str) -> None:
    for words in all_words(typer.main.get_command(APPS[program])):
        answer = CliRunner().invoke(APPS[program], [*words, "--help"])
        assert answer.exit_code == 0, answer.output
        assert "Usage" in answer.output


def test_the_readme_shows_the_block_that_opens_a_clip_to_the_letter() -> None:
    assert BLOCK in blocks(README.read_text())
    shown = {line.partition("  #")[0].strip() for line in BLOCK.splitlines()}
    assert shown == set(LINES)
