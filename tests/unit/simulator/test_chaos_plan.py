"""The fault lab's plan: a pure value of its seed that spares nobody."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_simulator.chaos_plan import STORE_DEEDS, Deed, Fault, Plan, Victim, draw_plan

SEEDS = st.integers(min_value=0, max_value=2**32)


def plan(seed: int, clips: int = 300, kills: int = 50, bells: int = 3) -> Plan:
    return draw_plan(seed=seed, clips=clips, kills=kills, bells=bells)


def kills_of(drawn: Plan) -> list[Fault]:
    return [fault for fault in drawn.faults if fault.deed is Deed.KILL]


@given(SEEDS)
def test_the_same_seed_is_the_same_plan(seed: int) -> None:
    assert plan(seed) == plan(seed)


def test_another_seed_is_another_plan() -> None:
    assert len({plan(seed).faults for seed in range(50)}) == 50


def test_a_seed_is_the_same_plan_in_every_process() -> None:
    code = (
        "import json; from doorstep_simulator.chaos_plan import draw_plan;"
        "print(json.dumps(draw_plan(seed=7, clips=30, kills=10, bells=3).to_json()))"
    )

    def drawn(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True
        ).stdout.decode()

    here = json.loads(json.dumps(draw_plan(seed=7, clips=30, kills=10, bells=3).to_json()))
    assert json.loads(drawn("1")) == json.loads(drawn("2")) == here


@given(SEEDS, st.integers(0, 60))
def test_as_many_are_killed_as_was_asked_and_each_process_as_often(seed: int, kills: int) -> None:
    counts = Counter(fault.victim for fault in kills_of(plan(seed, kills=kills)))
    assert counts.total() == kills
    times = [counts[victim] for victim in Victim]
    assert max(times) - min(times) <= 1


@given(SEEDS)
def test_a_long_plan_does_everything_that_can_be_done(seed: int) -> None:
    done = {(fault.deed, fault.victim) for fault in plan(seed).faults}
    assert {deed for deed, _ in done} == set(Deed)
    for victim in Victim:
        assert {(Deed.KILL, victim), (Deed.STALL, victim)} <= done


@given(SEEDS, st.integers(1, 400), st.integers(0, 60), st.integers(1, 4))
def test_faults_come_in_order_and_while_clips_are_recorded(
    seed: int, clips: int, kills: int, bells: int
) -> None:
    drawn = plan(seed, clips, kills, bells)
    moments = [fault.at_clip for fault in drawn.faults]
    assert moments == sorted(moments)
    assert all(0 <= moment < clips for moment in moments)
    for fault in drawn.faults:
        assert (fault.bell is not None) is (fault.victim is Victim.AGENT)
        assert fault.bell is None or 0 <= fault.bell < bells
        assert (fault.lasts_s > 0) is (fault.deed not in {Deed.KILL, Deed.STEP_CLOCK})
        assert (fault.step_s != 0) is (fault.deed is Deed.STEP_CLOCK)
        assert fault.deed not in STORE_DEEDS or fault.victim is Victim.STORE


def test_some_kills_come_before_the_last_one_is_well_again() -> None:
    waits = Counter(fault.waits for fault in kills_of(plan(1)))
    assert waits[True] > waits[False] > 0


@pytest.mark.parametrize("deed", Deed)
def test_every_fault_can_be_told(deed: Deed) -> None:
    fault = Fault(deed, Victim.AGENT, 1, 0, 0.5, waits=False, lasts_s=1.25, step_s=-7200)
    assert "doorbell 2" in fault.words
    assert "{" not in fault.words


def test_a_clock_is_put_on_or_back_in_words() -> None:
    def told(step_s: int) -> str:
        return Fault(Deed.STEP_CLOCK, Victim.AGENT, 0, 0, 0, waits=False, step_s=step_s).words

    assert told(-3600) == "the clock of doorbell 1 is put 1 h back"
    assert told(400 * 86_400) == "the clock of doorbell 1 is put 400 days on"
