"""What people and scripts read: tables and words for the one, JSON for the other.

Results go to stdout, everything else to stderr. Owner-facing words are plain:
no epoch, no envelope.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from doorstep_client.answers import CommandItem
from doorstep_client.clips import ClipItem, EventItem
from doorstep_client.service import Progress as OnProgress
from doorstep_shared.counting import many
from doorstep_shared.errors import DoorstepError
from doorstep_shared.terminal import commands_terminal, plain

stdout = Console()
stderr = Console(stderr=True, highlight=False)
# Wide enough for any table: an id that was shortened could not be copied.
tables = Console(width=1000)

# A clock that was never set from outside may still be right; this far off it is not.
CLOCK_OFF_S = 60

SAFE_ALL_THE_SAME = "Your keys never left this computer."
ASK_AGAIN = "doorstep status        (shows how your household and its service are)"

STATE_WORDS = {"announced": "on its way", "stored": "stored"}


def say(text: str) -> None:
    """Tell the person something that is not the result."""
    stderr.print(plain(text), soft_wrap=True, markup=False)


def print_json(value: object) -> None:
    """Print one JSON value on one line, for scripts; nothing in it could command a terminal."""
    text = json.dumps(value, ensure_ascii=False)
    # Outside its strings JSON has no such character, so that the value stays the same.
    sys.stdout.write("".join(_escaped(c) if commands_terminal(c) else c for c in text) + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """Print one line of the result."""
    stdout.print(plain(text), soft_wrap=True, markup=False, highlight=False)


def ring_bell() -> None:
    """Sound the terminal's bell, where there is one."""
    if sys.stdout.isatty():
        stdout.bell()


def print_error(program: str, error: DoorstepError) -> None:
    """Print the three lines of an error: the fact, what is safe, the next command.

    A service that says no need not say more; then the lines are ours.
    """
    say(f"{program}: {error.fact.rstrip('.')}.")
    say(error.safe or SAFE_ALL_THE_SAME)
    say(f"Do: {error.do or ASK_AGAIN}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, as wide as its texts."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(plain(cell).replace("\n", " ")) for cell in row))
    tables.print(table, soft_wrap=True)


def todo_words(waiting: Iterable[CommandItem]) -> tuple[str, ...]:
    """Return what a doorbell has still to do; empty if there is nothing."""
    commands = tuple(waiting)
    clips = sum(command.clips or 0 for command in commands)
    times = [command.until for command in commands if command.until is not None]
    named = [many(clips, "clip")] if clips else []
    until = [f"all clips until {local_time(max(times))}"] if times else []
    what = " and ".join(named + until)
    return (f"{what} still to be deleted on it",) if what else ()


def local_time(at: datetime) -> str:
    """Return ``at`` as a person near the door would say it."""
    return _at_home(at).strftime("%a %d %b %H:%M:%S")


def _at_home(at: datetime) -> datetime:
    try:
        return at.astimezone()
    except (OverflowError, ValueError, OSError):
        # A doorbell's clock may say anything; the calendar's first and last day stay UTC.
        return at


def event_line(event: EventItem) -> str:
    """Return one event as `listen` prints it."""
    word = "Ring" if event.kind == "ring" else "Motion"
    if event.is_missed:
        word = f"{word} missed at {_at_home(event.at):%H:%M:%S}"
    late_s = (event.received_at - event.at).total_seconds()
    clock = "" if event.clock_synced or abs(late_s) < CLOCK_OFF_S else "  (its clock is off)"
    return f"{local_time(event.at)}  {word}  at {event.device}{clock}"


def clip_row(clip: ClipItem) -> tuple[str, ...]:
    """Return one clip as a row of `clip list`."""
    size = clip.file.size_bytes / 1e6 if clip.file else 0
    notes = [STATE_WORDS[clip.state]]
    notes += [f"part {clip.part}"] if clip.part > 1 or not clip.is_last else []
    notes += ["cut short"] if clip.is_truncated else []
    return (
        local_time(clip.started_at),
        clip.kind.value,
        f"{clip.duration_s:.0f} s",
        f"{size:.1f} MB",
        ", ".join(notes),
        clip.id,
    )


def _escaped(character: str) -> str:
    """Return ``character`` as JSON escapes it (RFC 8259 section 7)."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


@contextmanager
def steps(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal while so many things are done; call what it yields after each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def download_progress(what: str) -> Iterator[OnProgress]:
    """Show a bar on a terminal while something is fetched."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda received, total: bar.update(task, completed=received, total=total)
