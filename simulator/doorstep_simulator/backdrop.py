"""The still picture: porch, path, garden, street, houses and sky without anybody."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from doorstep_simulator.canvas import (
    DESIGN_HEIGHT,
    DESIGN_WIDTH,
    Canvas,
    Colour,
    Silhouette,
    ink,
)
from doorstep_simulator.ground import HORIZON_Y, Place, seen_at, units_per_m

# Drawn finer and scaled down: the picture is drawn once, so smooth edges cost nothing.
_FINER: Final = 2
_COARSER: Final = 4
_HOUSES_M: Final = 20.0
_STREET_M: Final = (10.0, 16.5)
_PAVEMENT_M: Final = (7.7, 9.7)
HEDGE_M: Final = 7.4
_PORCH_M: Final = 3.1
_POST_RIGHT: Final = 96.0
_FAR_POST_LEFT: Final = 1216.0
_BEAM_BOTTOM: Final = 40.0
# Half of what is this far away is haze.
_HALF_HAZE_M: Final = 45.0


@dataclass(frozen=True, slots=True)
class Light:
    """The hour: what the sky gives.

    Attributes:
        zenith: Sky at the top.
        horizon: Sky above the roofs, and haze before what is far.
        sun: Glow around the sun.
        sun_at: Where that glow is, in design units.
        level: Light on everything below the sky; 1 is noon.
        tint: What the light adds to every colour.
        windows: Colour of the windows across the street.
    """

    zenith: Colour
    horizon: Colour
    sun: Colour
    sun_at: tuple[float, float]
    level: float
    tint: Colour
    windows: Colour

    def on(self, colour: Colour, away_m: float = 0.0) -> Colour:
        """Return how a colour looks in this light from so far away."""
        haze = 1 - 0.5 ** (away_m / _HALF_HAZE_M)
        return colour.lit(self.level).towards(self.tint, 0.1).towards(self.horizon, haze)


HOURS: Final = (
    Light(
        zenith=ink("#5f9fdb"),
        horizon=ink("#e4eef4"),
        sun=ink("#fff6dc"),
        sun_at=(330, 90),
        level=1.0,
        tint=ink("#fff2d8"),
        windows=ink("#7f9db5"),
    ),
    Light(
        zenith=ink("#7aa5d8"),
        horizon=ink("#fbe3c6"),
        sun=ink("#ffe3ad"),
        sun_at=(960, 130),
        level=0.95,
        tint=ink("#ffd79a"),
        windows=ink("#b9b3a2"),
    ),
    Light(
        zenith=ink("#4c5c92"),
        horizon=ink("#f4b391"),
        sun=ink("#ffc48d"),
        sun_at=(420, 170),
        level=0.78,
        tint=ink("#d98f86"),
        windows=ink("#ffdc8c"),
    ),
)


@dataclass(frozen=True, slots=True)
class Backdrop:
    """The still picture, and what of it stands before a visitor.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        near: (h, w) uint8, above 0 where door posts and plants hide any visitor.
        hedge: The same for a visitor beyond the hedge.
        light: The hour.
    """

    image: NDArray[np.uint8]
    near: NDArray[np.uint8]
    hedge: NDArray[np.uint8]
    light: Light


def draw_backdrop(seed: int, width_px: int, height_px: int) -> Backdrop:
    """Return the still picture of a seed: its hour, its houses, its door."""
    light = HOURS[int(_chance(seed, 0).integers(len(HOURS)))]
    shape = (height_px * _FINER, width_px * _FINER)
    image = np.zeros((*shape, 3), np.uint8)
    hedge, near = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    _sky(Canvas(image), light, _chance(seed, 1))
    _street(Canvas(image), light, _chance(seed, 2))
    _garden(Canvas(image), light, _chance(seed, 3))
    for canvas in (Canvas(image), Silhouette(hedge)):
        _hedge(canvas, light, _chance(seed, 4))
    _porch(Canvas(image), light)
    for canvas in (Canvas(image), Silhouette(near)):
        _doorway(canvas, light, _chance(seed, 5))
    _vignette(image)
    return Backdrop(
        _smaller(image, width_px, height_px),
        _smaller(near, width_px, height_px),
        _smaller(hedge, width_px, height_px),
        light,
    )


def _chance(seed: int, layer: int) -> np.random.Generator:
    """Return a layer's own chance: a picture and its mask must agree."""
    return np.random.default_rng([seed, layer])


# ── far away ───────────────────────────────────────────────────────────────────────────


def _sky(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    # Nothing in a sky is sharp, so a quarter of the size is enough.
    height, width = canvas.image.shape[:2]
    soft = np.zeros((height // _COARSER, width // _COARSER, 3), np.uint8)
    rows = np.linspace(0, DESIGN_HEIGHT, soft.shape[0])[:, np.newaxis]
    columns = np.linspace(0, DESIGN_WIDTH, soft.shape[1])[np.newaxis, :]
    down = np.clip(rows / HORIZON_Y, 0, 1)[:, :, np.newaxis] ** 0.85
    sky = np.asarray(light.zenith) * (1 - down) + np.asarray(light.horizon) * down
    away = np.hypot(columns - light.sun_at[0], (rows - light.sun_at[1]) * 1.3)
    glow = np.exp(-((away / 260) ** 2))[:, :, np.newaxis] * 0.75
    soft[:] = np.rint(sky * (1 - glow) + np.asarray(light.sun) * glow)
    white = light.sun.towards(Colour(255, 255, 255), 0.55)
    for _ in range(4):
        _cloud(Canvas(soft), (chance.uniform(60, 1220), chance.uniform(60, 150)), white, chance)
    canvas.image[:] = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)


def _cloud(
    canvas: Canvas, centre: tuple[float, float], colour: Colour, chance: np.random.Generator
) -> None:
    mask = np.zeros(canvas.image.shape[:2], np.uint8)
    puffs = Silhouette(mask)
    long = chance.uniform(60, 120)
    for _ in range(9):
        along = chance.uniform(-1, 1)
        radius = (1.1 - abs(along)) * chance.uniform(12, 26)
        at = (centre[0] + along * long, centre[1] - radius * 0.4)
        puffs.ellipse(at, (radius * 2.2, radius * 0.8), colour)
    blurred = cv2.GaussianBlur(mask, (0, 0), 14 * canvas.scale)
    share = (np.asarray(blurred, np.float32) * (0.5 / 255))[:, :, np.newaxis]
    canvas.image[:] = np.rint(canvas.image * (1 - share) + np.asarray(colour, np.float32) * share)


def _street(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    canvas.box(0, HORIZON_Y, DESIGN_WIDTH, DESIGN_HEIGHT, light.on(ink("#86a35c"), 22))
    for x_m in np.arange(-46.0, 46.0, 4.0):
        at = seen_at(Place(x_m + chance.uniform(-1.5, 1.5), 40), chance.uniform(2.5, 4.5))
        _foliage(canvas, at, (62, 52), light.on(ink("#58804a"), 40), chance)
    left = -20.5
    for number in range(5):
        wide = chance.uniform(6.2, 7.6)
        _house(canvas, light, (left, left + wide), chance, number)
        left += wide + chance.uniform(1.3, 2.2)
    for x_m in (-13.5, -4.6, 4.4, 12.6):
        _tree(canvas, light, Place(x_m + chance.uniform(-0.8, 0.8), 17.6), chance)
    _band(canvas, _STREET_M, light.on(ink("#6d7077"), 11))
    _band(canvas, (_STREET_M[1], _STREET_M[1] + 1.2), light.on(ink("#c3bfb6"), 16))
    _band(canvas, (_STREET_M[1] - 0.15, _STREET_M[1]), light.on(ink("#8f8d88"), 16))
    for x_m in np.arange(-18, 18, 3.0):
        _slab(canvas, (x_m, x_m + 1.5), (13.1, 13.35), light.on(ink("#d8d6cd"), 13))
    _parked_car(canvas, light, chance)


def _house(
    canvas: Canvas,
    light: Light,
    sides_m: tuple[float, float],
    chance: np.random.Generator,
    number: int,
) -> None:
    walls = ("#efe2c8", "#d9b59a", "#c7d2d6", "#e7d0d0", "#b9796a", "#e9e6df", "#cbbf9f")
    wall = light.on(ink(walls[(int(chance.integers(len(walls))) + number) % len(walls)]), 20)
    roof = light.on(ink(("#7d4a3e", "#58606b", "#6b5648")[int(chance.integers(3))]), 20)
    left, right = sides_m
    middle, eaves, ridge = (left + right) / 2, 3.3, chance.uniform(5.2, 6.0)

    def at(x_m: float, up_m: float) -> tuple[float, float]:
        return seen_at(Place(x_m, _HOUSES_M), up_m)

    canvas.polygon([at(left, 0), at(left, eaves), at(right, eaves), at(right, 0)], wall)
    canvas.polygon(
        [at(middle, eaves), at(right, eaves), at(right, 0), at(middle, 0)], wall.lit(0.96)
    )
    canvas.polygon([at(left, eaves), at(middle, ridge - 0.25), at(right, eaves)], wall)
    for end in (left, right):
        slope = [at(end, eaves - 0.15), at(middle, ridge - 0.3), at(middle, ridge)]
        outer = at(end + (0.45 if end == right else -0.45), eaves - 0.15)
        canvas.polygon([*slope, outer], roof if end == left else roof.lit(0.85))
    frame = light.on(ink("#f6f3ec"), 18)
    for share in (0.22, 0.78):
        _window(canvas, light, (left + (right - left) * share, 1.1), frame)
    _window(canvas, light, (middle, 3.5), frame)
    door = light.on(ink(("#3d5a6c", "#6d3b34", "#41563c")[int(chance.integers(3))]), 20)
    canvas.polygon(
        [at(middle - 0.5, 0), at(middle - 0.5, 2), at(middle + 0.5, 2), at(middle + 0.5, 0)], door
    )


def _window(canvas: Canvas, light: Light, sill: tuple[float, float], frame: Colour) -> None:
    x_m, up_m = sill
    left, bottom = seen_at(Place(x_m - 0.65, _HOUSES_M), up_m)
    right, top = seen_at(Place(x_m + 0.65, _HOUSES_M), up_m + 1.35)
    canvas.box(left - 2, top - 2, right + 2, bottom + 2, frame)
    canvas.box(left, top, right, bottom, light.windows.towards(light.horizon, 0.15))
    canvas.box((left + right) / 2 - 1, top, (left + right) / 2 + 1, bottom, frame)
    canvas.box(left, (top + bottom) / 2 - 1, right, (top + bottom) / 2 + 1, frame)


def _tree(canvas: Canvas, light: Light, foot: Place, chance: np.random.Generator) -> None:
    trunk = [seen_at(foot), seen_at(foot, 2.4)]
    canvas.stroke(trunk, light.on(ink("#6a5443"), foot.z_m), width=8)
    tall = chance.uniform(3.4, 4.2)
    crown = light.on(ink(("#5f9150", "#76994a", "#4f8357")[int(chance.integers(3))]), foot.z_m)
    _foliage(canvas, seen_at(foot, tall), (52, 58), crown, chance)


def _parked_car(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    paint = light.on(ink(("#a33b36", "#3c6285", "#d7d9da", "#4a5a52")[int(chance.integers(4))]), 12)
    place = Place(chance.choice([-5.2, 5.5]) + chance.uniform(-1, 1), 15.4)
    per_m = units_per_m(place.z_m)
    x, y = seen_at(place)

    def at(right_m: float, up_m: float) -> tuple[float, float]:
        return x + right_m * per_m, y - up_m * per_m

    canvas.ellipse((x, y), (2.3 * per_m, 0.16 * per_m), light.on(ink("#4a4c51"), 11))
    body = [(-2.1, 0.3), (-2.15, 0.75), (-1.9, 0.9), (-1.25, 0.98), (1.3, 0.95), (2.0, 0.82)]
    canvas.polygon([at(*corner) for corner in [*body, (2.15, 0.6), (2.1, 0.3)]], paint)
    cabin = [(-1.35, 0.95), (-0.85, 1.42), (0.55, 1.44), (1.25, 0.93)]
    canvas.polygon([at(*corner) for corner in cabin], paint.lit(0.92))
    glass = [(-1.15, 0.97), (-0.78, 1.34), (0.48, 1.36), (1.02, 0.95)]
    canvas.polygon([at(*corner) for corner in glass], light.windows.lit(0.75))
    canvas.stroke([at(-0.12, 0.95), at(-0.12, 1.38)], paint, width=3)
    for wheel in (-1.3, 1.3):
        canvas.ellipse(at(wheel, 0.3), (0.33 * per_m, 0.33 * per_m), light.on(ink("#26272b"), 12))
        canvas.ellipse(at(wheel, 0.3), (0.16 * per_m, 0.16 * per_m), light.on(ink("#a9abb0"), 12))


# ── the garden ─────────────────────────────────────────────────────────────────────────


def _garden(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    near_pavement, far_pavement = _PAVEMENT_M
    _band(canvas, (far_pavement, _STREET_M[0]), light.on(ink("#9c9a94"), 10))
    _band(canvas, _PAVEMENT_M, light.on(ink("#cfc9bd"), 8))
    for x_m in np.arange(-9.0, 9.1, 1.2):
        seam = [seen_at(Place(x_m, near_pavement)), seen_at(Place(x_m, far_pavement))]
        canvas.stroke(seam, light.on(ink("#b3ada1"), 8), width=1.5)
    _lawn(canvas, light, chance)
    for number, far in enumerate(np.arange(near_pavement, _PORCH_M, -0.55)):
        stone = ink("#d8c6a6").lit(chance.uniform(0.94, 1.03) - 0.02 * (number % 2))
        near = max(far - 0.55, _PORCH_M)
        middle = chance.uniform(-0.2, 0.2)
        _slab(canvas, (-0.8, 0.8), (near, far), light.on(ink("#a8977a"), near))
        _slab(canvas, (-0.78, middle - 0.015), (near + 0.025, far), light.on(stone, near))
        _slab(canvas, (middle + 0.015, 0.78), (near + 0.025, far), light.on(stone.lit(0.98), near))
    for x_m in (-1.05, 1.05):
        for z_m in np.arange(HEDGE_M - 0.4, _PORCH_M + 0.3, -0.32):
            _flowers(canvas, light, Place(x_m + chance.uniform(-0.12, 0.12), z_m), chance)


def _lawn(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    top = seen_at(Place(0, _PAVEMENT_M[0]))[1]
    steps = np.linspace(top, DESIGN_HEIGHT, 40)
    far, near = light.on(ink("#8db560"), 7), light.on(ink("#6c9a45"), 2)
    for upper, lower in pairwise(steps):
        share = (upper - top) / (DESIGN_HEIGHT - top)
        canvas.box(0, upper, DESIGN_WIDTH, lower + 1, far.towards(near, share))
    for _ in range(2600):
        x, y = chance.uniform(0, DESIGN_WIDTH), top + chance.uniform(0, 1) ** 0.7 * 300
        blade = 2 + (y - top) / 45
        colour = far.towards(near, (y - top) / 300).lit(chance.uniform(0.86, 1.12))
        canvas.stroke([(x, y), (x + chance.uniform(-2, 2), y - blade)], colour, width=1.6)


def _flowers(canvas: Canvas, light: Light, place: Place, chance: np.random.Generator) -> None:
    per_m = units_per_m(place.z_m)
    x, y = seen_at(place, 0.1)
    _foliage(canvas, (x, y), (0.16 * per_m, 0.13 * per_m), light.on(ink("#5c8a44"), 5), chance)
    petals = ("#e8d9f2", "#d97aa0", "#f2c94f", "#f4f1ea", "#c76ad0")
    for _ in range(3):
        at = (x + chance.uniform(-0.14, 0.14) * per_m, y - chance.uniform(0.0, 0.12) * per_m)
        colour = light.on(ink(petals[int(chance.integers(len(petals)))]), 5)
        canvas.ellipse(at, (0.025 * per_m, 0.025 * per_m), colour)


def _hedge(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    green = light.on(ink("#4e7d42"), HEDGE_M)
    for side in (-1, 1):
        near_gate, far_end = side * 1.15, side * 6.4
        low, high = (seen_at(Place(near_gate, HEDGE_M), up)[1] for up in (0, 0.42))
        left, right = sorted(seen_at(Place(x, HEDGE_M))[0] for x in (near_gate, far_end))
        canvas.box(left, high, right, low, green.lit(0.8))
        for x in np.arange(left, right, 11):
            at = (x + chance.uniform(-4, 4), high + chance.uniform(2, 8))
            _foliage(canvas, at, (17, 13), green, chance, leaves=9)
            lower = (x + chance.uniform(-4, 4), low - chance.uniform(8, 16))
            _foliage(canvas, lower, (15, 11), green.lit(0.86), chance, leaves=7)
        bush = light.on(ink("#43703f"), 7)
        _foliage(canvas, (650 + side * 485, 325), (172, 118), bush, chance, leaves=420)
        _gate_post(canvas, light, Place(side * 0.95, HEDGE_M))


def _gate_post(canvas: Canvas, light: Light, foot: Place) -> None:
    stone, per_m = light.on(ink("#e9e2d2"), 7), units_per_m(foot.z_m)
    x, y = seen_at(foot)
    half, top = 0.13 * per_m, y - 0.85 * per_m
    canvas.box(x - half, top, x + half, y + 2, stone)
    canvas.box(x + half * 0.3, top, x + half, y + 2, stone.lit(0.88))
    canvas.box(x - half * 1.3, top - 6, x + half * 1.3, top, stone.lit(1.04))
    canvas.ellipse((x, top - 13), (8, 8), light.on(ink("#f7e7b4"), 3))
    canvas.ellipse((x - 2, top - 15), (3, 3), ink("#fffbe8"))


# ── the porch ──────────────────────────────────────────────────────────────────────────


def _porch(canvas: Canvas, light: Light) -> None:
    edge = seen_at(Place(0, _PORCH_M))[1]
    canvas.box(0, edge, DESIGN_WIDTH, DESIGN_HEIGHT, light.on(ink("#b98a5e")))
    for number, x_m in enumerate(np.arange(-4.2, 4.2, 0.28)):
        board = ink("#bd8f63").lit((0.95, 1.02, 0.98)[number % 3])
        _slab(canvas, (x_m, x_m + 0.265), (2.0, _PORCH_M), light.on(board))
    canvas.box(0, edge - 5, DESIGN_WIDTH, edge + 3, light.on(ink("#d9b489")))
    canvas.box(0, edge + 3, DESIGN_WIDTH, edge + 6, light.on(ink("#8a6442")))
    _slab(canvas, (-0.72, 0.72), (2.3, 2.95), light.on(ink("#4d4a47")))
    _slab(canvas, (-0.66, 0.66), (2.3, 2.9), light.on(ink("#6b645c")))
    for z_m in np.arange(2.36, 2.9, 0.07):
        ribs = [seen_at(Place(x_m, z_m)) for x_m in (-0.62, 0.62)]
        canvas.stroke(ribs, light.on(ink("#5d564f")), width=2.5)


def _doorway(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    paint = light.on(ink(("#f1ede4", "#e4e7e6", "#2f4a52", "#5a3a33")[int(chance.integers(4))]))
    _plant(canvas, light, chance)
    canvas.box(0, 0, DESIGN_WIDTH, _BEAM_BOTTOM, paint.lit(0.88))
    canvas.box(0, _BEAM_BOTTOM - 8, DESIGN_WIDTH, _BEAM_BOTTOM, paint.lit(0.7))
    _lantern(canvas, light, (1150, _BEAM_BOTTOM))
    for left, right, inner in (
        (0.0, _POST_RIGHT, _POST_RIGHT - 14),
        (_FAR_POST_LEFT, float(DESIGN_WIDTH), _FAR_POST_LEFT),
    ):
        canvas.box(left, 0, right, DESIGN_HEIGHT, paint)
        canvas.box(inner, 0, inner + 14, DESIGN_HEIGHT, paint.lit(0.82))
        canvas.box(inner, 0, inner + 3, DESIGN_HEIGHT, paint.lit(0.68))
    canvas.box(4, 308, 92, 372, paint.lit(0.55))
    _house_number(canvas, int(chance.integers(2, 10)), (44, 262), light)


def _house_number(canvas: Canvas, number: int, centre: tuple[float, float], light: Light) -> None:
    brass = light.on(ink("#c9a14e"))
    canvas.ellipse((centre[0] + 1, centre[1] + 2), (30, 30), brass.lit(0.45))
    canvas.ellipse(centre, (29, 29), brass)
    canvas.ellipse(centre, (25, 25), light.on(ink("#233038")))
    x, y = (round(value * canvas.scale) for value in (centre[0] - 11, centre[1] + 13))
    cv2.putText(
        canvas.image,
        str(number),
        (x, y),
        cv2.FONT_HERSHEY_DUPLEX,
        1.15 * canvas.scale,
        ink("#f3dfa6"),
        max(1, round(2.2 * canvas.scale)),
        cv2.LINE_AA,
    )


def _lantern(canvas: Canvas, light: Light, hook: tuple[float, float]) -> None:
    x, y = hook
    iron = ink("#22262a")
    canvas.stroke([(x, y), (x, y + 34)], iron, width=3)
    canvas.polygon([(x - 22, y + 50), (x - 10, y + 32), (x + 10, y + 32), (x + 22, y + 50)], iron)
    glow = ink("#ffe9b0").towards(light.horizon, 0.15)
    canvas.polygon([(x - 18, y + 50), (x + 18, y + 50), (x + 13, y + 92), (x - 13, y + 92)], glow)
    canvas.ellipse((x, y + 70), (6, 12), ink("#fffdf0"))
    for side in (-1, 1):
        canvas.stroke([(x + side * 19, y + 50), (x + side * 14, y + 92)], iron, width=3)
    canvas.box(x - 17, y + 90, x + 17, y + 97, iron)


def _plant(canvas: Canvas, light: Light, chance: np.random.Generator) -> None:
    leaf = light.on(ink("#3f7146"))
    for spread in np.linspace(-1.15, 1.15, 15):
        long = chance.uniform(120, 190)
        tip = (1122 + np.sin(spread) * long * 0.75, 600 - np.cos(spread) * long)
        bend = (1122 + np.sin(spread) * long * 0.3, 600 - np.cos(spread) * long * 0.72)
        shade = leaf.lit(chance.uniform(0.8, 1.25))
        canvas.polygon(
            [(1116, 606), (bend[0] - 9, bend[1]), tip, (bend[0] + 9, bend[1]), (1128, 606)], shade
        )
    clay = light.on(ink("#b5643f"))
    canvas.polygon([(1062, 600), (1182, 600), (1166, 720), (1078, 720)], clay)
    canvas.polygon([(1122, 600), (1182, 600), (1166, 720), (1122, 720)], clay.lit(0.88))
    canvas.box(1054, 588, 1190, 612, clay.lit(1.08))
    canvas.box(1054, 608, 1190, 614, clay.lit(0.75))


# ── brushes ────────────────────────────────────────────────────────────────────────────


def _band(canvas: Canvas, reach_m: tuple[float, float], colour: Colour) -> None:
    """Fill the ground between two distances, from edge to edge."""
    near, far = reach_m
    top, bottom = seen_at(Place(0, far))[1], seen_at(Place(0, near))[1]
    canvas.box(0, top, DESIGN_WIDTH, bottom, colour)


def _slab(
    canvas: Canvas, sides_m: tuple[float, float], reach_m: tuple[float, float], colour: Colour
) -> None:
    """Fill a rectangle that lies on the ground."""
    (left, right), (near, far) = sides_m, reach_m
    corners = [Place(left, near), Place(left, far), Place(right, far), Place(right, near)]
    canvas.polygon([seen_at(corner) for corner in corners], colour)


def _foliage(
    canvas: Canvas,
    centre: tuple[float, float],
    radii: tuple[float, float],
    colour: Colour,
    chance: np.random.Generator,
    *,
    leaves: int = 60,
) -> None:
    """Fill a leafy ellipse, lighter towards the upper left."""
    canvas.ellipse(centre, (radii[0] * 0.94, radii[1] * 0.94), colour.lit(0.72))
    size = max(2.0, min(radii) * (0.34 if leaves < 100 else 0.13))  # noqa: PLR2004 (a few big, many small)
    for _ in range(leaves):
        turn, out = chance.uniform(0, 2 * np.pi), np.sqrt(chance.uniform(0, 1))
        right, down = np.cos(turn) * out, np.sin(turn) * out
        shade = 1.02 - 0.13 * right - 0.2 * down + chance.uniform(-0.09, 0.09)
        at = (centre[0] + right * radii[0], centre[1] + down * radii[1])
        leaf = (size * chance.uniform(0.6, 1.1), size * chance.uniform(0.5, 0.85))
        canvas.ellipse(at, leaf, colour.lit(shade), turned_deg=chance.uniform(0, 180))


def _vignette(image: NDArray[np.uint8]) -> None:
    """Darken the corners a little, as a wide lens does."""
    height, width = image.shape[:2]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, np.newaxis] ** 2
    across = np.linspace(-1, 1, width, dtype=np.float32)[np.newaxis, :] ** 2
    image[:] = np.rint(image * (1 - 0.1 * (down + across))[:, :, np.newaxis])


def _smaller(image: NDArray[np.uint8], width_px: int, height_px: int) -> NDArray[np.uint8]:
    scaled = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(scaled, np.uint8)
