import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from tests.benchmarks.__main__ import Run
from tests.benchmarks.figures import Figure
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.table import Better, Row


def row(name: str) -> Row:
    return Row(name, name, "ms", Better.LESS, Figure((1.0,)))


def measure_two(_lab: Lab) -> Iterator[Row]:
    yield row("one")
    yield row("two")


def fail(_lab: Lab) -> Iterator[Row]:
    yield row("broken")
    raise TimeoutError("the broker did not come up")


TWO = Bench(("one", "two"), measure_two)
BROKEN = Bench(("broken",), fail)


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def run(said: io.StringIO) -> Run:
    return Run(Console(file=said, width=100))


def test_only_the_rows_asked_for_are_shown(run: Run) -> None:
    assert list(run.measure([(TWO, ["two"])])) == [row("two")]


def test_a_row_that_fails_is_told_and_the_others_go_on(run: Run, said: io.StringIO) -> None:
    measured = list(run.measure([(BROKEN, ["broken"]), (TWO, ["one", "two"])]))
    assert [one.name for one in measured] == ["one", "two"]
    assert run.failed == ["broken"]
    assert "the broker did not come up" in said.getvalue()


def test_a_bench_that_forgets_a_row_is_a_mistake(run: Run) -> None:
    with pytest.raises(AssertionError, match="other rows"):
        list(run.measure([(Bench(("one",), measure_two), ["one"])]))
