"""Areas a question is about: a few touching cells of H3, so that a place is matched at home.

H3 (h3geo.org) divides the Earth into cells; those of resolution 9 have about 0.1 km².
An area has so many of them that no single home is meant, and so few that no district
is: a place is in it or not, and only who knows the place can say so.
"""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

import h3

from doorstep_shared.errors import RefusedError

RESOLUTION: Final = 9
MIN_CELLS: Final = 3
MAX_CELLS: Final = 12

MAX_AREA_KM2: Final = 1.295
"""Half a square mile. Cells differ in size by place, so their true area is summed."""

CELL_PATTERN: Final = "^89[0-9a-f]{13}$"
"""How an index of resolution 9 is spelled; not every such text is one."""

MAX_LATITUDE: Final = 90.0
MAX_LONGITUDE: Final = 180.0


class WrongAreaError(RefusedError):
    """Cells are not an area that a question may be about."""


class NoPlaceError(RefusedError):
    """Two numbers are not a latitude and a longitude."""


def check_area(cells: Sequence[str]) -> tuple[str, ...]:
    """Return ``cells`` if they are an area.

    Raises:
        WrongAreaError: Fewer than 3 or more than 12, not of resolution 9, not in order,
            one of them twice, in several pieces, or too large.
    """
    if not MIN_CELLS <= len(cells) <= MAX_CELLS:
        raise _wrong(f"an area has {MIN_CELLS} to {MAX_CELLS} cells, not {len(cells)}")
    for cell in cells:
        if not _is_cell(cell):
            raise _wrong(f"this is no H3 cell of resolution {RESOLUTION}: {cell[:20]!r}")
    if list(cells) != sorted(set(cells)):
        raise _wrong("the cells of an area stand in order, each of them once")
    if (area := area_km2(cells)) > MAX_AREA_KM2:
        raise _wrong(f"this area has {area:.3f} km², more than {MAX_AREA_KM2} km²")
    if not _is_one_piece(frozenset(cells)):
        raise _wrong("the cells of an area touch one another, in one piece")
    return tuple(cells)


def area_km2(cells: Iterable[str]) -> float:
    """Return the true area of ``cells``, which are H3 cells and all different."""
    return math.fsum(h3.cell_area(cell, unit="km^2") for cell in cells)


def cell_of(latitude: float, longitude: float) -> str:
    """Return the cell that a place lies in, in degrees of WGS 84.

    Raises:
        NoPlaceError: No place has these numbers.
    """
    # Without this H3 wraps numbers round: a place typed the wrong way about would be another.
    if not (abs(latitude) <= MAX_LATITUDE and abs(longitude) <= MAX_LONGITUDE):
        raise NoPlaceError(
            "a place is a latitude from -90 to 90 and a longitude from -180 to 180",
            do="type it as LATITUDE,LONGITUDE in degrees, such as 52.5163,13.3777",
        )
    cell: str = h3.latlng_to_cell(latitude, longitude, RESOLUTION)
    return cell


def is_within(latitude: float, longitude: float, cells: Iterable[str]) -> bool:
    """Return whether a place lies in the area of ``cells``.

    Raises:
        NoPlaceError: As `cell_of`.
    """
    return cell_of(latitude, longitude) in cells


def draw_area(latitude: float, longitude: float) -> tuple[str, ...]:
    """Return the area around a place: its cell and all that touch it.

    These are seven; beside one of the twelve pentagons of the Earth, six.

    Raises:
        NoPlaceError: As `cell_of`.
        WrongAreaError: They are larger than an area may be, which no cells are today.
    """
    return check_area(sorted(h3.grid_disk(cell_of(latitude, longitude), 1)))


def _is_cell(text: str) -> bool:
    return re.fullmatch(CELL_PATTERN, text) is not None and bool(h3.is_valid_cell(text))


def _is_one_piece(cells: frozenset[str]) -> bool:
    reached = {min(cells)}
    edge = set(reached)
    while edge:
        touched = {near for cell in edge for near in h3.grid_disk(cell, 1)}
        edge = (touched & cells) - reached
        reached |= edge
    return reached == cells


def _wrong(fact: str) -> WrongAreaError:
    return WrongAreaError(fact, do="draw the area again, around the place itself")
