"""Options that take one of a few words, refused in our words and not a validator's."""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

import typer

W = TypeVar("W", bound=StrEnum)


def one_of(words: type[W]) -> Callable[[str], W]:
    """Return what reads one of ``words`` as an option's value.

    typer's own way says "Value error" before what is wrong.
    """

    def parse(text: str) -> W:
        if text not in set(words):
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(words)}")
        return words(text)

    return parse


def spelled(words: type[StrEnum]) -> str:
    """Return how help shows that one of ``words`` is wanted."""
    return f"[{'|'.join(words)}]"
