"""A thumbnail is one sharp picture, small enough to send at once."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from doorstep_device.ports.camera import Packet
from doorstep_device.thumbnail import Candidates, draw_thumbnail
from doorstep_shared.manifest import MAX_THUMB_BYTES


def coded(luma: NDArray[np.uint8], at_us: int = 0) -> Packet:
    """Return a key frame of that picture."""
    height, width = luma.shape
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 5), 1
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18"}
    planes = np.concatenate([luma, np.full((height // 2, width), 128, np.uint8)])
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    data = b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    return Packet(data, is_key=True, at_us=at_us)


def decoded(jpeg: bytes | None) -> NDArray[np.uint8]:
    assert jpeg is not None
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    return np.asarray(picture, np.uint8)


def chequered(square_px: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:96, 0:128]
    return np.asarray((rows // square_px + columns // square_px) % 2 * 150 + 50, np.uint8)


SHARP = chequered(8)
BLURRED = np.asarray(cv2.GaussianBlur(SHARP, (31, 31), 0), np.uint8)


def test_it_is_the_sharpest_of_the_pictures() -> None:
    for key_frames in ((coded(SHARP), coded(BLURRED)), (coded(BLURRED), coded(SHARP))):
        picture = decoded(draw_thumbnail(key_frames))
        likeness = [np.corrcoef(picture.flat, each.flat)[0, 1] for each in (SHARP, BLURRED)]
        assert likeness[0] > 0.99 > likeness[1]


def test_a_picture_that_cannot_be_decoded_is_passed_over() -> None:
    broken = Packet(b"\0\0\0\1" + bytes(100), is_key=True, at_us=0)
    assert draw_thumbnail([broken, coded(SHARP)]) is not None
    assert draw_thumbnail([broken]) is None
    assert draw_thumbnail([]) is None


def test_a_large_picture_is_made_smaller_and_keeps_its_shape() -> None:
    large = np.tile(chequered(16), (12, 15))
    assert decoded(draw_thumbnail([coded(large)])).shape == (768, 1280)


def test_even_noise_fits_into_what_may_be_sent() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (720, 1280), np.uint8)
    jpeg = draw_thumbnail([coded(noise)])
    assert jpeg is not None
    assert len(jpeg) < MAX_THUMB_BYTES


def test_what_never_fits_is_no_thumbnail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("doorstep_device.thumbnail._MAX_JPEG_BYTES", 100)
    assert draw_thumbnail([coded(SHARP)]) is None


def test_the_three_with_the_most_motion_are_looked_at() -> None:
    candidates = Candidates()
    for at_us, score in enumerate((0.0, 0.5, 0.9, 0.5, 0.7)):
        candidates.offer(Packet(b"", is_key=True, at_us=at_us), score)
    assert [packet.at_us for packet in candidates.key_frames] == [2, 4, 1]
