"""Facts as they arrive: read from lines, kept, and waited for."""

import threading

import pytest

from doorstep_simulator.facts import Fact, FactLog, parse_fact


def test_a_line_of_the_doorbell_is_a_fact_with_its_details() -> None:
    fact = parse_fact('{"event": "ring_pressed", "at_ms": 12, "event_id": "e", "n": 2}', 1.5)
    assert fact == Fact("ring_pressed", 1.5, 12, {"event_id": "e", "n": 2})
    assert fact.text("event_id") == "e"
    assert fact.number("n") == 2
    assert (fact.text("no"), fact.number("no")) == ("", 0)


@pytest.mark.parametrize("line", ["", "Traceback", "[]", "{}", '{"event": 1}', "null", '"text"'])
def test_any_other_line_is_none(line: str) -> None:
    assert parse_fact(line, 0) is None


def test_details_that_are_no_plain_values_are_left_out() -> None:
    fact = parse_fact('{"event": "x", "at_ms": "soon", "list": [1], "deep": {}}', 0)
    assert fact == Fact("x", 0)


def test_the_log_finds_by_kind_and_details() -> None:
    log = FactLog()
    for number in range(3):
        log.add(Fact("a" if number else "b", number, details={"n": number}))
    assert [fact.arrived_s for fact in log.all("a")] == [1, 2]
    assert len(log.all()) == 3
    found = log.first("a", n=2)
    assert found is not None
    assert found.arrived_s == 2
    assert log.first("a", n=0) is None


def test_whoever_hears_hears_every_fact_until_the_end_of_the_block() -> None:
    log, heard = FactLog(), list[str]()
    log.add(Fact("before", 0))
    with log.heard_by(lambda fact: heard.append(fact.event)):
        log.add(Fact("during", 0))
    log.add(Fact("after", 0))
    assert heard == ["during"]


def test_a_fact_wakes_whoever_waits_for_it() -> None:
    log = FactLog()
    thread = threading.Timer(0.05, lambda: log.add(Fact("ring", 0)))
    thread.start()
    assert log.wait_until(lambda: log.first("ring") is not None, 5)
    thread.join()


def test_waiting_ends_with_its_time() -> None:
    assert not FactLog().wait_until(lambda: False, 0.01)
