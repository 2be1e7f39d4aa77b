"""The walk through the files goes through files and names that exist."""

import re
from pathlib import Path
from typing import Final

import pytest

from doorstep_device.rules.episode import TRANSITIONS, Phase
from tests.unit.docs.pages import DOCS, PAGES, SOURCES, defined_in, inline_code, name_of, rows

WALK: Final = (DOCS / "walk.md").read_text()
_LINKED: Final = re.compile(r"\[[^]]+\]\(([^)]+\.py)\)")
# [`name`](file): a name that links to where it is.
_NAMED_LINK: Final = re.compile(r"\[`([\w.]+)`\]\(([^)#]+\.py)\)")
_ERROR: Final = re.compile(r"\w+Error\b")


def stops() -> list[tuple[Path, str]]:
    """Return each file of the walk with each name that is said to be in it."""
    found = []
    for row in rows(WALK):
        if (linked := _LINKED.fullmatch(row[0])) is not None:
            path = (DOCS / linked[1]).resolve()
            found += [(path, name) for name in inline_code(row[1])]
    return found


def test_the_walk_has_its_stops() -> None:
    """The pattern above finds what it is meant to find."""
    folders = {path.parent.name for path, _ in stops()}
    assert {"doorstep_device", "rules", "ingest", "transfer", "doorstep_client"} <= folders
    assert len(stops()) > 60


@pytest.mark.parametrize("stop", stops(), ids=lambda stop: f"{stop[0].stem}:{stop[1]}")
def test_every_stop_of_the_walk_is_in_its_file(stop: tuple[Path, str]) -> None:
    path, name = stop
    assert name in defined_in(path)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_name_that_links_to_a_module_is_defined_in_it(page: Path) -> None:
    missing = []
    for name, link in _NAMED_LINK.findall(page.read_text()):
        path = (page.parent / link).resolve()
        # A link may also be called by its file.
        if not link.endswith((name, f"{name}.py")) and name not in defined_in(path):
            missing.append(name)
    assert missing == []


def test_the_episode_is_as_the_walk_draws_it() -> None:
    phases = {phase.value for phase in Phase}
    drawn = {tuple(row) for row in rows(WALK) if row[0] in phases}
    assert drawn == {
        (phase.value, signal.value, after.value) for (phase, signal), after in TRANSITIONS.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_error_that_a_page_names_exists(page: Path) -> None:
    defined = {name for path in SOURCES for name in defined_in(path)}
    named = {name for code in inline_code(page.read_text()) for name in _ERROR.findall(code)}
    assert named - defined == set()
