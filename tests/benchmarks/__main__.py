"""`make bench`: measure everything, each row beside a peer, and print one table.

Nothing here passes or fails by its time; a row that cannot be measured is told, and the
others go on.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.benchmarks.catalogue import BENCHES, choose
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.machine import describe_load, describe_machine
from tests.benchmarks.table import Row, draw_table, put_between_marks, write_markdown

ROOT = Path(__file__).parents[2]
COPY = ROOT / ".bench" / "table.md"
PAGE = ROOT / "docs" / "benchmarks.md"
# A pipe has no width; in this much, no figure is wrapped.
PIPE_COLUMNS = 140


class Run:
    """One run over the chosen rows.

    Attributes:
        failed: Rows that could not be measured.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self.failed: list[str] = []

    def measure(self, chosen: list[tuple[Bench, list[str]]]) -> Iterator[Row]:
        """Yield the rows."""
        with self._console.status("measuring"), Lab(self._say) as lab:
            for bench, shown in chosen:
                started_s = time.monotonic()
                yield from self._rows(bench, shown, lab)
                took_s = time.monotonic() - started_s
                self._say(f"{', '.join(shown)}: {took_s:.0f} s, load {describe_load()}")

    def _rows(self, bench: Bench, shown: list[str], lab: Lab) -> list[Row]:
        try:
            rows = list(bench.measure(lab))
        except Exception:  # noqa: BLE001  # one row's failure must not cost the others
            self.failed += shown
            self._say(f"{', '.join(shown)} could not be measured:")
            self._console.print_exception(max_frames=4)
            return []
        if tuple(row.name for row in rows) != bench.rows:
            raise AssertionError(f"other rows than {bench.rows} were measured")
        return [row for row in rows if row.name in shown]

    def _say(self, text: str) -> None:
        self._console.print(text, style="dim", highlight=False, markup=False, soft_wrap=True)


def main(
    rows: Annotated[
        list[str] | None, typer.Argument(help="Rows, or how their names begin; all if none.")
    ] = None,
    *,
    page: Annotated[
        bool, typer.Option("--page", help="Put the table into docs/benchmarks.md, too.")
    ] = False,
    list_rows: Annotated[bool, typer.Option("--list", help="Only name the rows.")] = False,
) -> None:
    """Measure, print one table, and keep a copy in .bench/table.md."""
    out, err = Console(), Console(stderr=True)
    try:
        chosen = choose(BENCHES, rows or [])
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if list_rows:
        out.print(*(name for _, shown in chosen for name in shown), sep="\n", highlight=False)
        return
    facts, run = describe_machine(), Run(err)
    measured = list(run.measure(chosen))
    facts.append(f"load average after the last row {describe_load()}")
    if not out.is_terminal:
        out = Console(width=PIPE_COLUMNS)
    out.print(*facts, sep="\n", highlight=False)
    out.print(draw_table(measured))
    keep_copies(write_markdown(facts, measured), page=page)
    if run.failed:
        raise typer.Exit(1)


def keep_copies(text: str, *, page: bool) -> None:
    """Write the table into the git-ignored copy, and into the documentation if so asked."""
    COPY.parent.mkdir(exist_ok=True)
    COPY.write_text(text, encoding="utf-8")
    if page:
        marked = put_between_marks(PAGE.read_text(encoding="utf-8"), text)
        PAGE.write_text(marked, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
