"""The timeline: every blow and every clip is in it, and it is well-formed for any reader."""

from itertools import count
from xml.etree import ElementTree as ET

import pytest

from doorstep_simulator.chaos_course import ClipMark, Course, Strike
from doorstep_simulator.chaos_picture import WIDTH, draw_course
from doorstep_simulator.chaos_plan import Deed, draw_plan

SVG = "{http://www.w3.org/2000/svg}"


def course(kills: int = 12, clips: int = 40) -> Course:
    plan = draw_plan(seed=3, clips=clips, kills=kills, bells=2)
    strikes = [
        Strike(fault, at_s, at_s + fault.lasts_s, at_s + 2.5 if fault.deed is Deed.KILL else None)
        for fault, at_s in zip(plan.faults, count(1, 3), strict=False)
    ]
    marks = [ClipMark(number % 2, number * 1.5, number * 1.5 + 1) for number in range(clips)]
    marks.append(ClipMark(1, 33.0, None))
    return Course(plan, strikes, marks, length_s=65.0)


def shapes(drawn: Course) -> dict[str, list[ET.Element]]:
    by_class: dict[str, list[ET.Element]] = {}
    for shape in ET.fromstring(draw_course(drawn)).iter():  # noqa: S314  # our own drawing
        by_class.setdefault(shape.get("class", ""), []).append(shape)
    return by_class


def test_every_kill_recovery_fault_and_clip_is_drawn_once() -> None:
    drawn = course()
    found = shapes(drawn)
    legend = 1
    assert len(found["kill"]) - legend == len(found["bar"]) - legend == len(drawn.kills) == 12
    assert len(found["fault"]) - legend == len(drawn.strikes) - len(drawn.kills)
    assert len(found["clip"]) - legend == 40
    assert len(found["late"]) == 1


def test_a_bar_is_as_long_as_its_recovery() -> None:
    drawn = course()
    widths = [float(bar.get("width", 0)) for bar in shapes(drawn)["bar"][1:]]
    per_s = (WIDTH - 120 - 28) / drawn.length_s
    assert widths == [pytest.approx(2.5 * per_s, abs=0.2)] * 12


def test_each_shape_says_what_it_is() -> None:
    drawn = course()
    told = [title.text or "" for title in ET.fromstring(draw_course(drawn)).iter(f"{SVG}title")]  # noqa: S314  # our own
    assert told[0] == "41 clips, 12 kills, seed 3: well again after 2.5 s at most"
    for strike in drawn.strikes:
        assert any(text.startswith(strike.fault.words) for text in told)


def test_a_reader_of_dark_pages_gets_dark_ground_and_light_ink() -> None:
    drawn = draw_course(course())
    assert "prefers-color-scheme:dark" in drawn
    assert "var(--ground)" in drawn


@pytest.mark.parametrize("length_s", [0.0, 3.0, 90.0, 4_000.0, 90_000.0])
def test_a_run_of_any_length_has_some_times_on_its_axis(length_s: float) -> None:
    drawn = Course(draw_plan(seed=1, clips=1, kills=0, bells=1), [], [], length_s)
    words = [text.text or "" for text in ET.fromstring(draw_course(drawn)).iter(f"{SVG}text")]  # noqa: S314  # our own
    assert 1 <= sum(word.endswith(" s") for word in words) <= 30
