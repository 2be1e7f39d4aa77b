"""What a fault lab says when it is over, to people and to scripts."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from doorstep_simulator.chaos import (
    Outcome,
    PromiseBrokenError,
    check_promises,
    is_in_the_way,
    print_outcome,
)
from doorstep_simulator.chaos_audit import Finding, Harm
from doorstep_simulator.chaos_course import ClipMark, Course, Strike
from doorstep_simulator.chaos_plan import Deed, Fault, Victim, draw_plan

LOST = Finding(Harm.LOST, "the clip one is not stored at the service")


def outcome(*findings: Finding) -> Outcome:
    plan = draw_plan(seed=5, clips=9, kills=4, bells=1)
    strikes = [
        Strike(fault, 1.0, 1.0 + fault.lasts_s, 3.5 if fault.deed is Deed.KILL else None)
        for fault in plan.faults
    ]
    return Outcome(Course(plan, strikes, [ClipMark(0, 1, 2)] * 9, 12.34), findings)


def printed(shown: Outcome) -> str:
    file = io.StringIO()
    print_outcome(shown, Console(file=file, width=100))
    return file.getvalue()


def test_the_object_for_scripts_ends_with_what_counts() -> None:
    found = outcome(LOST).to_json()
    assert list(found.items())[-5:] == [
        ("clips", 9),
        ("kills", 4),
        ("lost", 1),
        ("doubled", 0),
        ("recovery_s_max", 2.5),
    ]
    assert found["findings"] == ["lost: the clip one is not stored at the service"]
    assert found["seed"] == 5


def test_a_person_reads_who_was_killed_and_what_was_found() -> None:
    told = printed(outcome())
    for victim in Victim:
        assert victim.value in told
    assert "9 clips, 4 kills, 2 other faults in 12 s (seed 5):" in told
    assert "0 lost, 0 doubled, 0 stray, 0 altered" in told
    assert "lost: the clip one is not stored" in printed(outcome(LOST))


def test_a_broken_promise_is_an_error_that_says_where_to_look(tmp_path: Path) -> None:
    check_promises(outcome(), tmp_path)
    with pytest.raises(PromiseBrokenError) as caught:
        check_promises(outcome(LOST), tmp_path)
    assert caught.value.fact == f"1 promise was broken; the first: {LOST.what}"
    assert str(tmp_path) in caught.value.safe
    assert str(tmp_path / "logs") in caught.value.do


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        ((Deed.ANSWER_500, Victim.STORE, None), (Deed.FLIP_BYTE, Victim.STORE, None), True),
        ((Deed.STALL, Victim.AGENT, 0), (Deed.STALL, Victim.AGENT, 0), True),
        ((Deed.STALL, Victim.AGENT, 0), (Deed.STALL, Victim.AGENT, 1), False),
        ((Deed.STALL, Victim.STORE, None), (Deed.KILL, Victim.STORE, None), False),
        ((Deed.ANSWER_500, Victim.STORE, None), (Deed.KILL, Victim.STORE, None), False),
    ],
)
def test_two_faults_that_one_hand_does_wait_for_each_other(
    one: tuple[Deed, Victim, int | None], other: tuple[Deed, Victim, int | None], *, is_so: bool
) -> None:
    first, second = (Fault(*words, at_clip=0, after_s=0, waits=False) for words in (one, other))
    assert is_in_the_way(first, second) is is_so
