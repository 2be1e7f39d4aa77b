import io
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from doorstep_simulator.film_strip import NoPictureError, film_strip

FPS = 10


def fragmented(pictures: int) -> bytes:
    """A clip as the doorbell makes it, each picture lighter than the one before."""
    out = io.BytesIO()
    movflags = {"movflags": "frag_every_frame+empty_moov+default_base_moof"}
    with av.open(out, "w", format="mp4", options=movflags) as clip:
        stream = clip.add_stream("libx264", FPS, options={"tune": "zerolatency", "g": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(pictures):
            grey = np.full((180, 320, 3), 10 + 2 * index, np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))
    return out.getvalue()


CLIP = fragmented(100)


def tiles(jpeg: bytes, height_px: int) -> list[NDArray[np.uint8]]:
    strip = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert strip is not None
    assert strip.shape[0] == height_px
    wide = round(height_px * 16 / 9)
    return [
        np.asarray(strip[:, left : left + wide], np.uint8)
        for left in range(0, strip.shape[1], wide + 6)
    ]


def shade(tile: NDArray[np.uint8]) -> float:
    return float(tile[: tile.shape[0] // 2].mean())


@pytest.mark.parametrize("count", [1, 2, 6])
def test_a_strip_has_as_many_pictures_as_were_asked_for(count: int) -> None:
    assert len(tiles(film_strip(CLIP, count, 90), 90)) == count


def test_the_pictures_are_evenly_spread_from_the_first_to_the_last() -> None:
    shades = [shade(tile) for tile in tiles(film_strip(CLIP, 4, 90), 90)]

    assert shades == pytest.approx([10, 76, 142, 208], abs=4)


def test_each_picture_is_stamped(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps: list[str] = []
    put_text = cv2.putText

    def noted(image: object, text: str, *rest: object) -> object:
        stamps.append(text)
        return put_text(image, text, *rest)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "putText", noted)
    film_strip(CLIP, 3, 90)
    film_strip(CLIP, 3, 90, zero_s=6.0)

    assert stamps == ["0.0 s", "5.0 s", "9.9 s", "-6.0 s", "-1.0 s", "+3.9 s"]
    assert tiles(film_strip(CLIP, 1, 90), 90)[0][-8:, :60].max() > 120


def test_a_clip_with_fewer_pictures_gives_a_shorter_strip() -> None:
    assert len(tiles(film_strip(fragmented(3), 6, 90), 90)) == 3


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_clip_is_shown_as_far_as_it_goes(share: float) -> None:
    shades = [shade(tile) for tile in tiles(film_strip(CLIP[: int(len(CLIP) * share)], 4, 90), 90)]

    assert len(shades) >= 2
    assert shades[0] == pytest.approx(10, abs=4)
    assert 30 < shades[-1] < 208


@settings(max_examples=40)
@given(st.integers(0, len(CLIP)))
def test_wherever_a_clip_is_cut_there_is_a_strip_or_a_clear_no(cut: int) -> None:
    try:
        jpeg = film_strip(CLIP[:cut], 3, 45)
    except NoPictureError:
        assert cut < len(CLIP) // 10
    else:
        assert tiles(jpeg, 45)


@pytest.mark.parametrize("junk", [b"", b"not a video", b"\x00" * 5000])
def test_what_is_no_video_is_said_to_be_none(junk: bytes) -> None:
    with pytest.raises(NoPictureError, match="no picture"):
        film_strip(junk)


def test_a_file_with_sound_only_has_no_picture() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as sound:
        stream = sound.add_stream("aac", 8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        sound.mux(stream.encode(silence))
        sound.mux(stream.encode(None))

    with pytest.raises(NoPictureError):
        film_strip(out.getvalue())
