"""Areas: a few touching cells, no larger than half a square mile, anywhere on Earth."""

import math

import h3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_shared.areas import (
    MAX_AREA_KM2,
    MAX_CELLS,
    MIN_CELLS,
    NoPlaceError,
    WrongAreaError,
    area_km2,
    cell_of,
    check_area,
    draw_area,
    is_within,
)

BERLIN = (52.5163, 13.3777)
AREA = draw_area(*BERLIN)
SMALL_CELLS = draw_area(27.0, -25.0)
PENTAGONS = h3.get_pentagons(9)

latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 180)


def row(start: str, count: int) -> tuple[str, ...]:
    """Return ``count`` cells, each touching the next, from ``start`` on."""
    (far,) = sorted(h3.grid_ring(start, count - 1))[:1]
    return tuple(sorted(h3.grid_path_cells(start, far)))


def test_the_area_around_a_place_is_its_cell_and_those_that_touch_it() -> None:
    assert len(AREA) == 7
    assert check_area(AREA) == AREA
    assert is_within(*BERLIN, AREA)
    assert not is_within(52.54, 13.3777, AREA)


@pytest.mark.parametrize("count", [0, 2, 13])
def test_an_area_has_three_to_twelve_cells(count: int) -> None:
    cells = row(cell_of(*BERLIN), count) if count else ()
    with pytest.raises(WrongAreaError, match=f"3 to 12 cells, not {count}"):
        check_area(cells)


def test_three_cells_and_twelve_small_ones_are_an_area() -> None:
    three = row(cell_of(*BERLIN), MIN_CELLS)
    assert check_area(three) == three
    # Close to a pentagon cells are half as large.
    twelve = tuple(sorted(row(min(h3.grid_ring(PENTAGONS[0], 2)), MAX_CELLS)))
    assert area_km2(twelve) < MAX_AREA_KM2
    assert check_area(twelve) == twelve


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "a place",
        AREA[0].upper(),
        AREA[0] + "\n",
        "0x" + AREA[0],
        "89" + "f" * 13,
        h3.cell_to_parent(AREA[0], 8),
        h3.cell_to_center_child(AREA[0], 10),
    ],
)
def test_what_is_no_cell_of_resolution_9_is_refused(cell: str) -> None:
    with pytest.raises(WrongAreaError, match="no H3 cell of resolution 9"):
        check_area([*AREA[:3], cell])


def test_a_cell_stands_once_and_in_its_order() -> None:
    for cells in ([*AREA, AREA[-1]], AREA[::-1]):
        with pytest.raises(WrongAreaError, match="in order, each of them once"):
            check_area(cells)


def test_an_area_is_in_one_piece() -> None:
    elsewhere = draw_area(48.8584, 2.2945)
    with pytest.raises(WrongAreaError, match="in one piece"):
        check_area(sorted({*AREA[:4], *elsewhere[:4]}))
    two_apart = min(h3.grid_ring(AREA[0], 2))
    with pytest.raises(WrongAreaError, match="in one piece"):
        check_area(sorted((AREA[0], two_apart, max(h3.grid_ring(two_apart, 2)))))


def test_twelve_large_cells_are_too_large_an_area() -> None:
    large = max(
        (cell_of(lat, lon) for lat in range(-80, 81, 10) for lon in range(-180, 180, 20)),
        key=lambda cell: area_km2([cell]),
    )
    cells = row(large, MAX_CELLS)
    with pytest.raises(WrongAreaError, match=r"km², more than 1\.295 km²"):
        check_area(cells)


@pytest.mark.parametrize(
    ("latitude", "longitude"),
    [(90.1, 0), (-91, 0), (13.0, 181.0), (0, -180.5), (math.nan, 0), (0, math.nan), (math.inf, 0)],
)
def test_numbers_that_are_no_place_are_refused(latitude: float, longitude: float) -> None:
    with pytest.raises(NoPlaceError, match="from -90 to 90"):
        is_within(latitude, longitude, AREA)


@given(latitudes, longitudes)
def test_around_any_place_on_earth_an_area_can_be_drawn_that_it_is_in(
    latitude: float, longitude: float
) -> None:
    area = draw_area(latitude, longitude)
    assert is_within(latitude, longitude, area)
    assert len(area) in {6, 7}


@pytest.mark.parametrize("place", [(90, 0), (-90, 0), (90, 77), (0, 180), (0, -180), (0, 0)])
def test_poles_and_the_date_line_are_places_too(place: tuple[float, float]) -> None:
    assert is_within(*place, draw_area(*place))


@pytest.mark.parametrize("pentagon", PENTAGONS)
def test_around_a_pentagon_are_six_cells(pentagon: str) -> None:
    area = draw_area(*h3.cell_to_latlng(pentagon))
    assert (len(area), pentagon in area) == (6, True)


@given(st.integers(0, len(PENTAGONS) - 1) | st.tuples(latitudes, longitudes), st.data())
def test_what_is_accepted_is_small_enough_and_in_one_piece(
    place: int | tuple[float, float], data: st.DataObject
) -> None:
    middle = PENTAGONS[place] if isinstance(place, int) else cell_of(*place)
    near = sorted(h3.grid_disk(middle, 3))
    cells = data.draw(st.sets(st.sampled_from(near), min_size=1, max_size=14))
    try:
        area = check_area(sorted(cells))
    except WrongAreaError:
        return
    assert MIN_CELLS <= len(set(area)) <= MAX_CELLS
    assert area_km2(area) <= MAX_AREA_KM2
    # Every split of it into two has neighbours on both sides, judged by another function.
    reached = {area[0]}
    for _ in area:
        reached |= {b for b in area for a in reached if h3.are_neighbor_cells(a, b)}
    assert reached == set(area)
