"""What a camera coded is kept as it is, where a clip can be made of it."""

from dataclasses import replace

import pytest

from doorstep_device.adapters.annex_b import parameter_sets, unit_types
from doorstep_device.adapters.passthrough import Coded, Passthrough, why_not_kept
from doorstep_device.ports.camera import CameraChangedError
from tests.rtsp import FPS, coded_film

STEP_US = 1_000_000 // FPS


def units_of(film: list[bytes]) -> list[Coded]:
    return [Coded(data, 7 in unit_types(data), i * STEP_US) for i, data in enumerate(film)]


def without_headers(unit: Coded) -> Coded:
    pieces = unit.data.split(b"\x00\x00\x01")[1:]
    kept = (piece for piece in pieces if piece[0] & 0x1F not in {7, 8})
    return replace(unit, data=b"".join(b"\x00\x00\x01" + piece for piece in kept))


@pytest.fixture(scope="module")
def film() -> list[Coded]:
    """Three seconds, a key frame every second."""
    return units_of(coded_film(seconds=3))


def test_a_key_frame_a_second_is_kept(film: list[Coded]) -> None:
    assert why_not_kept("h264", "yuv420p", b"", film[: FPS + 1]) is None


@pytest.mark.parametrize("gop_s", [2.0, 2.1])
def test_a_key_frame_every_two_seconds_is_kept(gop_s: float) -> None:
    film = units_of(coded_film(seconds=5, gop_s=gop_s))
    assert why_not_kept("h264", "yuv420p", b"", film) is None


def test_fewer_key_frames_are_not_enough() -> None:
    film = units_of(coded_film(seconds=5, gop_s=2.4))
    assert "two seconds" in (why_not_kept("h264", "yuv420p", b"", film) or "")
    assert "two seconds" in (why_not_kept("h264", "yuv420p", b"", film[:20]) or "")


def test_another_codec_or_other_pixels_are_encoded(film: list[Coded]) -> None:
    assert "hevc" in (why_not_kept("hevc", "yuv420p", b"", film) or "")
    assert "yuv444p" in (why_not_kept("h264", "yuv444p", b"", film) or "")


def test_pictures_out_of_order_are_encoded(film: list[Coded]) -> None:
    shuffled = [film[0], replace(film[1], stamp_us=film[2].stamp_us), film[1], *film[3:]]
    assert "order" in (why_not_kept("h264", "yuv420p", b"", shuffled) or "")


def test_a_picture_to_recover_from_is_no_key_frame(film: list[Coded]) -> None:
    pretended = [replace(unit, is_key=True) for unit in film[1:FPS]]
    assert "two seconds" in (why_not_kept("h264", "yuv420p", b"", pretended) or "")


def test_headers_beside_the_stream_stand_before_every_key_frame(film: list[Coded]) -> None:
    headers = parameter_sets(film[0].data)
    bare = [without_headers(unit) if unit.is_key else unit for unit in film]
    assert why_not_kept("h264", "yuv420p", headers, bare) is None
    assert "how" in (why_not_kept("h264", "yuv420p", b"", bare) or "")
    kept = [Passthrough(headers).keep(unit) for unit in bare if unit.is_key]
    assert len(kept) == 3
    for one in kept:
        assert one is not None
        data, is_key = one
        assert is_key
        assert [kind for kind in unit_types(data) if kind in {5, 7, 8}] == [7, 8, 5]


def test_what_comes_before_the_first_key_frame_is_left_out(film: list[Coded]) -> None:
    keeper = Passthrough(b"")
    kept = [keeper.keep(unit) for unit in film[5:]]
    assert kept[: FPS - 5] == [None] * (FPS - 5)
    assert kept[FPS - 5] == (film[FPS].data, True)
    assert kept[FPS - 4] == (film[FPS + 1].data, False)


def keep_all(units: list[Coded]) -> None:
    keeper = Passthrough(b"")
    for unit in units:
        keeper.keep(unit)


def test_another_size_is_another_stream(film: list[Coded]) -> None:
    other = [
        replace(unit, stamp_us=unit.stamp_us + 3_000_000)
        for unit in units_of(coded_film(seconds=1, size=(640, 360)))
    ]
    keep_all(film)
    with pytest.raises(CameraChangedError, match="another way"):
        keep_all([*film, *other])


def test_key_frames_that_stay_away_end_the_stream(film: list[Coded]) -> None:
    rest = [replace(film[1], stamp_us=i * STEP_US) for i in range(1, 6 * FPS)]
    with pytest.raises(CameraChangedError, match="too seldom"):
        keep_all([film[0], *rest])


def test_times_that_step_back_end_the_stream(film: list[Coded]) -> None:
    with pytest.raises(CameraChangedError, match="stepped back"):
        keep_all([film[0], film[2], film[1]])
    keep_all([*film, film[0]])  # begun anew with a key frame: the clock's matter
