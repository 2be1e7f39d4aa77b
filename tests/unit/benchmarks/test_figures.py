import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.benchmarks.figures import Figure, as_text, quantile, ratio, take_turns

VALUES = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=30)


def test_the_middle_of_an_odd_number_of_runs_is_one_of_them() -> None:
    figure = Figure((9.0, 1.0, 2.0))
    assert (figure.middle, figure.low, figure.high) == (2.0, 1.0, 9.0)


def test_a_quantile_between_two_values_is_interpolated() -> None:
    assert quantile([10.0, 20.0], 0.5) == 15.0
    assert quantile([float(n) for n in range(101)], 0.99) == 99.0


@given(VALUES, st.floats(0, 1))
def test_a_quantile_never_leaves_the_values_and_forgets_their_order(
    values: list[float], share: float
) -> None:
    found = quantile(values, share)
    slack = 1e-9 * max(values)
    assert min(values) - slack <= found <= max(values) + slack
    assert quantile(values[::-1], share) == found


@given(VALUES)
def test_the_outermost_quantiles_are_the_extremes(values: list[float]) -> None:
    assert quantile(values, 0) == min(values)
    assert quantile(values, 1) == max(values)


def test_a_figure_needs_a_value_and_a_quantile() -> None:
    with pytest.raises(ValueError, match="value"):
        Figure(())
    with pytest.raises(ValueError, match="share"):
        Figure((1.0,), 1.1)


def test_medians_that_took_turns_are_compared_turn_by_turn() -> None:
    # Twice as fast in every turn, while the machine grew ten times slower.
    assert ratio(Figure((1.0, 10.0, 100.0)), Figure((2.0, 20.0, 200.0))) == 0.5
    # By their middles these would be equal.
    assert ratio(Figure((1.0, 4.0, 8.0)), Figure((4.0, 8.0, 4.0))) == 0.5


def test_other_quantiles_are_compared_as_they_are() -> None:
    ours = Figure((1.0, 2.0, 10.0), share=1.0)
    assert ratio(ours, Figure((5.0, 5.0, 4.0), share=1.0)) == 2.0
    assert ratio(Figure((2.0, 4.0)), Figure((1.0,))) == 3.0


def test_nothing_is_no_multiple_of_nothing() -> None:
    assert ratio(Figure((3.0,)), Figure((0.0,))) is None
    assert ratio(Figure((3.0, 3.0)), Figure((0.0, 0.0))) is None


def test_a_side_that_once_gave_nothing_is_compared_by_its_middle() -> None:
    assert ratio(Figure((2.0, 2.0, 2.0)), Figure((0.0, 1.0, 1.0))) == 2.0


def test_sides_take_turns_after_one_unmeasured_run() -> None:
    said: list[str] = []

    def side(name: str) -> float:
        said.append(name)
        return float(len(said))

    ours, theirs = take_turns(2, lambda: side("A"), lambda: side("B"))
    assert said == ["A", "B", "A", "B", "A", "B"]
    assert (ours, theirs) == ((3.0, 5.0), (4.0, 6.0))


def test_a_warm_up_can_be_left_out() -> None:
    assert take_turns(1, lambda: 1.0, warm_up=False) == ((1.0,),)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1234"),
        (123.4, "123"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.012345, "0.0123"),
        (13.0, "13"),
        (0.0, "0"),
        (-1.25, "-1.25"),
    ],
)
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert as_text(value) == text


def test_a_figure_shows_how_far_its_runs_spread() -> None:
    assert str(Figure((3.0, 1.5, 2.0))) == "2 (1.50\N{EN DASH}3, n=3)"
    assert str(Figure((0.25,))) == "0.250"
