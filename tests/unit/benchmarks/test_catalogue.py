from collections.abc import Iterator

import pytest

from tests.benchmarks.__main__ import PAGE
from tests.benchmarks.catalogue import BENCHES, choose
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.table import Row, put_between_marks


def measure_nothing(_lab: Lab) -> Iterator[Row]:
    return iter(())


SEAL = Bench(("seal-4mib",), measure_nothing)
RING = Bench(("ring-ack", "ring-ack-p99", "ring-listener"), measure_nothing)
ALL = (SEAL, RING)


def test_nothing_asked_for_is_everything() -> None:
    assert choose(ALL, []) == [(SEAL, ["seal-4mib"]), (RING, list(RING.rows))]


def test_a_whole_name_is_that_row_alone() -> None:
    assert choose(ALL, ["ring-ack"]) == [(RING, ["ring-ack"])]


def test_a_beginning_is_every_row_that_begins_so() -> None:
    assert choose(ALL, ["ring"]) == [(RING, list(RING.rows))]
    assert choose(ALL, ["seal", "ring-l"]) == [(SEAL, ["seal-4mib"]), (RING, ["ring-listener"])]


def test_a_bench_runs_once_however_many_of_its_rows_are_asked_for() -> None:
    assert choose(ALL, ["ring-listener", "ring-ack", "ring-ack"]) == [
        (RING, ["ring-ack", "ring-listener"])
    ]


def test_a_name_that_fits_nothing_is_told_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="sael; there are: seal-4mib ring-ack"):
        choose(ALL, ["sael"])


def test_no_two_rows_share_a_name_and_no_name_needs_quotes() -> None:
    names = [name for bench in BENCHES for name in bench.rows]
    assert len(names) == len(set(names))
    assert all(name.replace("-", "").isalnum() for name in names)


def test_the_page_has_a_place_for_the_table_and_a_command_for_every_row() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert put_between_marks(page, "").count("|") < page.count("|")
    for bench in BENCHES:
        for name in bench.rows:
            assert f"`make bench ROWS={name}`" in page
