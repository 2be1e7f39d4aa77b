"""The pages for people, and the pieces of them that can be compared with the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[3]
README: Final = CHECKOUT / "README.md"
DOCS: Final = CHECKOUT / "docs"
PAGES: Final = sorted(
    [
        *CHECKOUT.glob("*.md"),
        *DOCS.rglob("*.md"),
        CHECKOUT / "cloud" / "README.md",
    ]
)
SOURCES: Final = sorted(
    path
    for folder in ("cloud", "device", "hardware", "shared", "simulator")
    for path in (CHECKOUT / folder).rglob("*.py")
)

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`([^`\n]+)`")
_HEADING: Final = re.compile(r"^(#+) (.+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    """Return a page's path from the checkout, for the name of a test."""
    return str(page.relative_to(CHECKOUT))


def blocks(text: str) -> list[str]:
    """Return the fenced blocks that are no drawings."""
    return [body for language, body in _FENCE.findall(text) if language != "mermaid"]


def prose(text: str) -> str:
    """Return the text without its fenced blocks."""
    return _FENCE.sub("", text)


def inline_code(text: str) -> list[str]:
    """Return what stands between single backticks."""
    return _INLINE.findall(prose(text))


def headings(text: str) -> list[str]:
    """Return the headings, without their marks."""
    return [title for _, title in _HEADING.findall(prose(text))]


def section(text: str, title: str) -> str:
    """Return what stands under the heading ``title``, up to the next of its level or above."""
    lines = iter(text.splitlines(keepends=True))
    level = next(len(line) - len(line.lstrip("#")) for line in lines if _is_titled(line, title))
    found = []
    for line in lines:
        if re.match(rf"#{{1,{level}}} ", line):
            break
        found.append(line)
    return "".join(found)


def rows(text: str) -> list[list[str]]:
    """Return the cells of every table row but heads and rules."""
    found: list[list[str]] = []
    lines = text.splitlines()
    for place, line in enumerate(lines):
        is_head = place + 1 < len(lines) and lines[place + 1].startswith("|---")
        if line.startswith("|") and not line.startswith("|---") and not is_head:
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


@cache
def defined_in(path: Path) -> frozenset[str]:
    """Return every class, function and ``Class.method`` that a module defines."""
    return frozenset(_definitions(ast.parse(path.read_text()), ""))


def _definitions(node: ast.AST, prefix: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name
            yield from _definitions(child, f"{prefix}{child.name}.")


def _is_titled(line: str, title: str) -> bool:
    return line.startswith("#") and line.lstrip("#").strip() == title
