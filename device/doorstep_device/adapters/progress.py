"""A progress bar on stderr, for a person who waits."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from doorstep_device import motion_report


@contextmanager
def show_progress(label: str) -> Iterator[motion_report.Progress]:
    """Show a bar while the block runs; nothing when stderr is no terminal.

    Args:
        label: What goes on, a word or two.
    """
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    is_hidden = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), disable=is_hidden) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
