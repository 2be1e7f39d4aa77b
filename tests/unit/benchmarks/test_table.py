import io

import pytest
from rich.console import Console

from tests.benchmarks.figures import Figure
from tests.benchmarks.table import (
    BEGIN,
    COLUMNS,
    END,
    Better,
    Row,
    draw_table,
    put_between_marks,
    write_markdown,
)

BESIDE = Row(
    name="seal-4mib",
    what="sealing | 4 MiB",
    unit="MB/s",
    better=Better.MORE,
    ours=Figure((300.0, 200.0, 400.0)),
    peer="pyrage",
    theirs=Figure((600.0, 400.0, 800.0)),
)
ALONE = Row("start-set-up", "first start", "s", Better.LESS, Figure((1.5,)))


def test_a_row_says_what_makes_just_it() -> None:
    assert BESIDE.command == "make bench ROWS=seal-4mib"


def test_a_row_with_a_peer_says_how_the_two_compare() -> None:
    cells = dict(zip(COLUMNS, BESIDE.cells(), strict=True))
    assert cells["ours"] == "300 (200\N{EN DASH}400, n=3)"
    assert cells["peer's"] == "600 (400\N{EN DASH}800, n=3)"
    assert cells["ours / peer's"] == "0.500"
    assert cells["unit"] == "MB/s \N{UPWARDS ARROW}"


def test_a_row_without_a_peer_compares_nothing() -> None:
    cells = dict(zip(COLUMNS, ALONE.cells(), strict=True))
    assert [cells[name] for name in ("peer", "peer's", "ours / peer's")] == ["\N{EN DASH}"] * 3


def test_markdown_has_a_line_for_every_row_and_escapes_its_own_sign() -> None:
    text = write_markdown(["2 cores"], [BESIDE, ALONE])
    facts, blank, head, rule, first, second = text.splitlines()
    assert (facts, blank) == ("- 2 cores", "")
    assert head.count("|") == rule.count("|") == second.count("|") == len(COLUMNS) + 1
    assert first.startswith("| sealing \\| 4 MiB | MB/s")
    assert first.endswith("| `make bench ROWS=seal-4mib` |")


def test_the_terminal_shows_every_cell() -> None:
    out = io.StringIO()
    Console(file=out, width=200).print(draw_table([BESIDE, ALONE]))
    for cell in (*BESIDE.cells(), *ALONE.cells()):
        assert cell in out.getvalue()


def test_the_page_keeps_everything_outside_the_marks() -> None:
    page = f"# Title\n{BEGIN}\nold\n{END}\nafter\n"
    once = put_between_marks(page, "new\n")
    assert once == f"# Title\n{BEGIN}\nnew\n{END}\nafter\n"
    assert put_between_marks(once, "new\n") == once


@pytest.mark.parametrize("page", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_page_without_both_marks_is_left_alone(page: str) -> None:
    with pytest.raises(ValueError, match="no place"):
        put_between_marks(page, "new\n")
