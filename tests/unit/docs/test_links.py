"""Links between pages lead somewhere."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.unit.docs.pages import CHECKOUT, PAGES, headings, name_of, prose

_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    found = _LINK.findall(prose(page.read_text()))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchor(title: str) -> str:
    """Return what a heading is linked by: as the forges make it."""
    kept = re.sub(r"[^\w\- ]", "", title.replace("`", "").lower())
    return kept.replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_of_the_checkout(page: Path) -> None:
    missing = []
    for link in links(page):
        target = (page.parent / link.partition("#")[0]).resolve() if link[0] != "#" else page
        if not target.exists() or not target.is_relative_to(CHECKOUT):
            missing.append(link)
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_into_a_page_leads_to_a_heading(page: Path) -> None:
    missing = []
    for link in links(page):
        path, mark, place = link.partition("#")
        target = page if not path else page.parent / path
        if mark and place not in map(anchor, headings(target.read_text())):
            missing.append(link)
    assert missing == []


def test_every_page_of_the_docs_is_linked_from_another() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in links(page)
    }
    docs = [page for page in PAGES if page.is_relative_to(CHECKOUT / "docs")]
    # A link to a folder shows its README.
    shown = linked | {folder / "README.md" for folder in linked}
    assert [name_of(page) for page in docs if page not in shown] == []
