"""Progress for a person who waits: lines with times, on stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from doorstep_shared.errors import DoorstepError

stderr: Final = Console(stderr=True, highlight=False)


class Telling:
    """Tells lines, each with the seconds since it began."""

    def __init__(self, console: Console = stderr) -> None:
        self.console: Final = console
        self._began_s = time.monotonic()

    @property
    def passed_s(self) -> float:
        """Seconds since the first line could have come."""
        return time.monotonic() - self._began_s

    def __call__(self, text: str, style: str = "") -> None:
        """Tell one line."""
        line = Text.assemble((f"{self.passed_s:6.1f} s  ", "dim"), (text, style))
        self.console.print(line, soft_wrap=True)

    def plain(self, text: str = "", style: str = "") -> None:
        """Tell one line without a time: something to copy, or to read at leisure."""
        self.console.print(Text(text, style), soft_wrap=True)


def spoken(path: Path) -> str:
    """Return a path as a person in the working folder would type it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def say_error(program: str, error: DoorstepError) -> None:
    """Say the three lines of an error: the fact, what is safe, the next command."""
    fact = error.fact.removesuffix(".")
    lines = [f"{program}: {fact}.", error.safe, f"Do: {error.do}" if error.do else ""]
    sys.stderr.write("".join(f"{line}\n" for line in lines if line))
    sys.stderr.flush()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; it is told how many are done, of how many."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
