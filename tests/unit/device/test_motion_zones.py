import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from doorstep_device.rules.zones import EVERYWHERE, Zone, parse_zone

SHARES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)


def test_everywhere_is_every_pixel() -> None:
    assert EVERYWHERE.mask(320, 180).shape == (180, 320)
    assert EVERYWHERE.mask(320, 180).all()


def test_a_zone_in_shares_is_the_same_part_of_a_larger_picture() -> None:
    left_half = Zone(((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
    for width, height in ((320, 180), (640, 480)):
        mask = left_half.mask(width, height)
        assert mask[:, : width // 2 - 1].all()
        assert not mask[:, width // 2 + 1 :].any()


@pytest.mark.parametrize(
    "corners",
    [
        ((0.0, 0.0), (1.0, 1.0)),
        ((0.0, 0.0), (1.0, 0.0), (1.0, 1.1)),
        ((-0.1, 0.0), (1.0, 0.0), (1.0, 1.0)),
        ((float("nan"), 0.0), (1.0, 0.0), (1.0, 1.0)),
        ((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)),
        ((0.1, 0.1), (0.7, 0.7), (0.3, 0.3), (0.9, 0.9)),
    ],
    ids=["two corners", "below the picture", "left of it", "nowhere", "a point", "a line"],
)
def test_a_polygon_that_is_not_on_the_picture_is_refused(
    corners: tuple[tuple[float, float], ...],
) -> None:
    with pytest.raises(ValueError, match="zone"):
        Zone(corners)


def test_a_zone_is_read_as_a_person_types_it() -> None:
    typed = "0.1,0.2 0.9,0.2  0.9,1 .1,1"
    assert parse_zone(typed) == Zone(((0.1, 0.2), (0.9, 0.2), (0.9, 1), (0.1, 1)))
    assert str(parse_zone(typed)) == "0.1,0.2 0.9,0.2 0.9,1 0.1,1"
    assert str(EVERYWHERE) == "0,0 1,0 1,1 0,1"


@given(st.lists(st.tuples(SHARES, SHARES), min_size=3, max_size=12))
def test_a_zone_is_read_as_it_is_written(corners: list[tuple[float, float]]) -> None:
    try:
        zone = Zone(tuple(corners))
    except ValueError:
        reject()  # all on one line
    assert parse_zone(str(zone)) == zone


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "3 corners or more, not 0"),
        ("0,0 1,0", "3 corners or more, not 2"),
        ("0,0 1,0 1", "not '1'"),
        ("0,0;1,0;1,1", "not '0,0;1,0;1,1'"),
        ("0,0 1,0 1,1,1", "not '1,1,1'"),
        ("0,0 1,0 x,1", "not 'x,1'"),
        ("0,0 1,0 100,100", "outside the picture"),
        ("0,0 1,0 1,inf", "outside the picture"),
        ("0,0 0.5,0 1,0", "on one line"),
    ],
)
def test_what_is_no_zone_is_refused_with_the_reason(typed: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_zone(typed)
