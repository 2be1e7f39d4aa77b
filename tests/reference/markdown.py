"""Markdown, as the generated pages use it."""

from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """Return ``text`` as code."""
    return f"`{text}`"


def cell(text: str) -> str:
    """Return ``text`` so that it stays within one cell."""
    return " ".join(text.split()).replace("|", "\\|")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a line for each row."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"
