"""The table: what was measured beside what, for a terminal and for the documentation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from rich.table import Table

from tests.benchmarks.figures import Figure, as_text, ratio

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
_NONE = "\N{EN DASH}"


class Better(Enum):
    """Which way a figure is good."""

    MORE = "\N{UPWARDS ARROW}"
    LESS = "\N{DOWNWARDS ARROW}"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison.

    Attributes:
        name: What `make bench ROWS=…` takes.
        what: What was measured, in words.
        unit: Of both figures.
        better: Which way is good.
        ours: What Doorstep does.
        peer: Who was measured beside it; None if there is nobody to compare with.
        theirs: What the peer does.
    """

    name: str
    what: str
    unit: str
    better: Better
    ours: Figure
    peer: str | None = None
    theirs: Figure | None = None

    @property
    def command(self) -> str:
        """What makes just this row."""
        return f"make bench ROWS={self.name}"

    @property
    def ratio(self) -> float | None:
        """How many times the peer's figure ours is; None without a peer."""
        return None if self.theirs is None else ratio(self.ours, self.theirs)

    def cells(self) -> tuple[str, ...]:
        """Return the texts of the row, in the order of `COLUMNS`."""
        times = self.ratio
        return (
            self.what,
            f"{self.unit} {self.better.value}",
            str(self.ours),
            self.peer or _NONE,
            _NONE if self.theirs is None else str(self.theirs),
            _NONE if times is None else as_text(times),
            self.command,
        )


COLUMNS = ("what", "unit", "ours", "peer", "peer's", "ours / peer's", "command")


def draw_table(rows: Iterable[Row]) -> Table:
    """Return the table for a terminal: two lines to a row, so that 80 columns are enough."""
    table = Table(show_lines=True)
    for column in ("what, and what makes this row", "unit", "ours", "peer", "ours / peer's"):
        table.add_column(column, overflow="fold")
    for row in rows:
        what, unit, ours, peer, theirs, times, command = row.cells()
        beside = peer if row.theirs is None else f"{peer}\n{theirs}"
        table.add_row(f"{what}\n{command}", unit, ours, beside, times)
    return table


def write_markdown(facts: Sequence[str], rows: Iterable[Row]) -> str:
    """Return the table as Markdown, what it was measured on above it."""
    lines = [*(f"- {fact}" for fact in facts), ""]
    lines += [_markdown_row(COLUMNS), _markdown_row(["---"] * len(COLUMNS))]
    for row in rows:
        *cells, command = row.cells()
        lines.append(_markdown_row([*cells, f"`{command}`"]))
    return "\n".join(lines) + "\n"


def put_between_marks(page: str, table: str) -> str:
    """Return ``page`` with ``table`` in place of what stands between the marks.

    Raises:
        ValueError: The page does not have one begin and one end, in this order.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN} … {END}")
    return f"{before}{begin}\n{table}{end}{after}"


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
