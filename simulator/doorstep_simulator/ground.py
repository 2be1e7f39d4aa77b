"""The ground before the door: where a place in metres is seen in the picture."""

from typing import Final, NamedTuple

# A doorbell at 1.6 m with about 90° of view, looking level, a little past the middle of
# the path. Chosen so that a visitor at the bell is seen from head to foot.
_EYE_M: Final = 1.6
_FOCAL: Final = 640.0
_CENTRE_X: Final = 650.0
HORIZON_Y: Final = 285.0


class Place(NamedTuple):
    """A place on the ground, in metres.

    Attributes:
        x_m: To the right of the path's middle.
        z_m: Away from the door.
    """

    x_m: float
    z_m: float


def seen_at(place: Place, height_m: float = 0.0) -> tuple[float, float]:
    """Return where a point `height_m` above a place is seen, in design units."""
    per_m = units_per_m(place.z_m)
    return _CENTRE_X + place.x_m * per_m, HORIZON_Y + (_EYE_M - height_m) * per_m


def units_per_m(z_m: float) -> float:
    """Return the design units a metre takes at that distance."""
    return _FOCAL / z_m
