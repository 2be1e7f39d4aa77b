import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_simulator.score_curve import ScoreCurve, ScorePoint, Span, draw_curve

POINTS = [ScorePoint(t_s=t / 10, score=t / 100, is_moving=30 <= t < 60) for t in range(100)]


def drawn(points: list[ScorePoint] = POINTS, threshold: float | None = None) -> ScoreCurve:
    curve = draw_curve(points, from_s=0.0, to_s=10.0, threshold=threshold)
    assert curve is not None
    return curve


def places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


def test_a_higher_score_is_drawn_higher() -> None:
    heights = [y for _, y in places(drawn().line)]

    assert heights[0] == 100
    assert heights == sorted(heights, reverse=True)
    assert 0 < heights[-1] < 20


def test_time_runs_from_edge_to_edge() -> None:
    curve = drawn()

    assert [curve.across(t) for t in (-1, 0, 2.5, 10, 11)] == [0, 0, 25, 100, 100]
    assert curve.span(2.5, 5.0) == Span(25.0, 25.0)
    assert curve.span(9.0, 99.0) == Span(90.0, 10.0)


def test_what_the_rule_called_motion_is_a_stretch() -> None:
    assert drawn().moving == (Span(30.0, 30.0),)


def test_the_threshold_is_drawn_where_such_a_score_would_be() -> None:
    curve = drawn(threshold=0.5)

    assert curve.threshold_y == pytest.approx(dict(places(curve.line))[500.0], abs=0.1)
    assert drawn().threshold_y is None


def test_a_threshold_above_every_score_is_still_inside_the_chart() -> None:
    threshold_y = drawn(threshold=9.0).threshold_y

    assert threshold_y is not None
    assert 0 < threshold_y < 20


def test_ticks_are_round_seconds_and_few() -> None:
    curve = draw_curve([ScorePoint(97.0, 1.0, is_moving=False)], from_s=93.4, to_s=131.0)

    assert curve is not None
    assert [tick.label for tick in curve.ticks] == [f"{s} s" for s in range(95, 131, 5)]


def test_no_curve_is_drawn_without_a_score() -> None:
    assert draw_curve(POINTS, from_s=50.0, to_s=60.0) is None
    assert draw_curve([], from_s=0.0, to_s=1.0) is None


def test_a_long_run_keeps_its_highest_score() -> None:
    points = [ScorePoint(t / 1000, float(t == 7777), is_moving=False) for t in range(10_000)]
    curve = drawn(points)

    heights = [y for _, y in places(curve.line)]
    assert len(heights) <= 500
    assert min(heights) < 20


@given(
    st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=40),
    st.none() | st.floats(0, 1e6),
)
def test_every_shape_stays_inside_the_chart(scores: list[float], threshold: float | None) -> None:
    points = [ScorePoint(t * 0.2, score, is_moving=score > 1) for t, score in enumerate(scores)]
    curve = drawn(points, threshold)

    for x, y in places(curve.line) + places(curve.area):
        assert 0 <= x <= 1000
        assert 0 <= y <= 100
    for span in curve.moving:
        assert 0 <= span.left <= span.left + span.width <= 100.01
