"""Each recorded decision says in its title what was decided, and at its end what it costs."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.unit.docs.pages import DOCS, headings, name_of, section

DECISIONS: Final = sorted((DOCS / "adr").glob("[0-9]*.md"))
VERBS: Final = (
    r"\b(is|are|may|comes?|carries|lie|stands|travel|"
    r"reads|cost|checks|speaks)\b"
)
LIST: Final = (DOCS / "adr" / "README.md").read_text()


def title_of(page: Path) -> str:
    return page.read_text().partition("\n")[0].removeprefix("# ")


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(DECISIONS) + 1))
    assert len(DECISIONS) > 1


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_has_its_four_sections_and_ends_with_its_cost(page: Path) -> None:
    text = page.read_text()
    wanted = ["Context", "Options", "Decision", "What this costs us"]
    assert headings(text)[1:] == wanted
    assert all(section(text, title).strip() for title in wanted)


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_is_a_sentence_and_its_file_is_named_by_it(page: Path) -> None:
    number, _, title = title_of(page).partition(". ")
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower().replace("'", "")).strip("-")
    assert page.name == f"{int(number):04d}-{slug}.md"
    assert re.search(VERBS, title)


def test_the_list_of_decisions_is_whole() -> None:
    listed = re.findall(r"^(\d+\. )\[(.+)\]\((.+)\)$", LIST, re.MULTILINE)
    assert [(number + title, name) for number, title, name in listed] == [
        (title_of(page), page.name) for page in DECISIONS
    ]
