"""A sweep tells a person what it found, and nothing else."""

from dataclasses import asdict, fields, replace

from doorstep_cloud.app.sweep import SweepReport
from doorstep_cloud.app.sweep_words import CLOCK, MISSING, WORDS, sweep_lines


def test_all_in_order_is_one_line() -> None:
    assert sweep_lines(asdict(SweepReport())) == ["Nothing is left over, and nothing is missing."]


def test_every_finding_has_its_words() -> None:
    assert {field.name for field in fields(SweepReport)} == {*WORDS, CLOCK, MISSING}
    for name, words in WORDS.items():
        assert sweep_lines({**asdict(SweepReport()), name: 3}) == [f"3 {words}"]


def test_what_is_missing_is_named_and_a_doubted_clock_is_told() -> None:
    report = replace(
        SweepReport(),
        is_clock_believed=False,
        objects_missing=["clips/x/file"],
        objects_missing_in_all=1,
    )
    counted, named, clock = sweep_lines(asdict(report))
    assert counted.startswith("1 sealed objects missing")
    assert named == "  missing: clips/x/file"
    assert "doubted" in clock
