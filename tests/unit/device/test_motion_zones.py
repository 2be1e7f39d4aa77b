import pytest

from doorstep_device.rules.zones import EVERYWHERE, Zone


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
    ],
    ids=["two corners", "below the picture", "left of it", "nowhere"],
)
def test_a_polygon_that_is_not_on_the_picture_is_refused(
    corners: tuple[tuple[float, float], ...],
) -> None:
    with pytest.raises(ValueError, match="zone"):
        Zone(corners)
