"""The glossary: each word once, one line each, and all that the design settled."""

import re
from typing import Final

from tests.unit.docs.pages import DOCS, rows

GLOSSARY: Final = [row for row in rows((DOCS / "glossary.md").read_text()) if "**" in row[0]]
WORDS: Final = [row[0].strip("*") for row in GLOSSARY]

SETTLED: Final = """\
edge, press, ring; event; clip, segment, sample; GOP, key frame; pre-roll, post-roll
capture; encode; seal; spool; upload; store
outbox; last will; presence; twin; household, member, statement, roster
epoch key, envelope, payload; claim; consent policy, grant, release, revocation
assistance request; legal demand
retention, tombstone; enrolment; wall time, monotonic time; leaf, tile, checkpoint, witness"""

# What is not built yet; whoever builds it takes the word from here and from the page.
LATER: Final = """\
twin
legal demand; leaf, tile, checkpoint, witness"""


def words_of(text: str) -> set[str]:
    return set(re.split(r"[,;\n] ?", text))


def test_every_word_that_was_settled_is_explained() -> None:
    assert words_of(SETTLED) - set(WORDS) == set()


def test_no_word_is_explained_twice() -> None:
    assert sorted(WORDS) == sorted(set(WORDS))


def test_what_is_not_built_yet_is_marked() -> None:
    marked = {row[0].strip("*") for row in GLOSSARY if re.search(r"\(later\b", row[1])}
    assert marked == words_of(LATER)


def test_every_word_is_explained_in_a_line() -> None:
    longest = 120
    assert [row[0] for row in GLOSSARY if not 0 < len(row[1]) <= longest] == []
