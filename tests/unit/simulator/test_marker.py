import io
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from doorstep_device.adapters.capture import luma_of, small_luma
from doorstep_simulator.marker import (
    MARKER_TEXT,
    draw_plate,
    find_marker,
    marker_sei,
    read_marker,
    with_marker_text,
)
from doorstep_simulator.scene import Scene


def film(pictures: list[NDArray[np.uint8]], *, crf: int) -> list[bytes]:
    """Encode as the doorbell does: H.264 access units in Annex B form."""
    codec = av.CodecContext.create("libx264", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.height, codec.width = pictures[0].shape[:2]
    codec.pix_fmt, codec.time_base, codec.framerate = "yuv420p", Fraction(1, 15), Fraction(15)
    codec.options = {
        "preset": "ultrafast",
        "crf": str(crf),
        "tune": "zerolatency",
        "x264-params": "keyint=5:repeat-headers=1:annexb=1",
    }
    frames = [av.VideoFrame.from_ndarray(picture, format="bgr24") for picture in pictures]
    packets = [packet for frame in frames for packet in codec.encode(frame)]
    return [bytes(packet) for packet in [*packets, *codec.encode(None)]]


def shown(units: list[bytes]) -> list[NDArray[np.uint8]]:
    with av.open(io.BytesIO(b"".join(units)), "r", format="h264") as video:
        frames = video.decode(video=0)
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in frames]


@pytest.fixture(scope="module")
def doorstep() -> Scene:
    return Scene(7, 30.0, width_px=640, height_px=360)


@pytest.fixture(scope="module")
def filmed(doorstep: Scene) -> list[bytes]:
    return film([doorstep.frame(index) for index in range(150, 160)], crf=28)


@pytest.mark.parametrize("crf", [20, 38])
def test_the_plate_is_found_after_compression(doorstep: Scene, crf: int) -> None:
    pictures = shown(film([doorstep.frame(index) for index in range(150, 160)], crf=crf))

    assert len(pictures) == 10
    assert [read_marker(picture) for picture in pictures] == [7] * 10


@pytest.mark.parametrize("width_px", [320, 427, 960, 1280])
def test_the_plate_is_found_at_another_size(doorstep: Scene, width_px: int) -> None:
    size = (width_px, round(width_px * 9 / 16))
    scaled = cv2.resize(doorstep.frame(0), size, interpolation=cv2.INTER_AREA)

    assert find_marker(np.asarray(scaled, np.uint8))


def test_the_plate_is_found_in_luma_alone(doorstep: Scene) -> None:
    luma = cv2.cvtColor(doorstep.frame(0), cv2.COLOR_BGR2GRAY)

    assert find_marker(np.asarray(luma, np.uint8))


def test_no_plate_is_found_in_other_pictures(doorstep: Scene) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (500, 180, 320), np.uint8)
    upside_down = doorstep.frame(0)[::-1]

    assert not any(find_marker(picture) for picture in noise)
    assert not find_marker(np.ascontiguousarray(upside_down))
    assert not find_marker(np.zeros((360, 640, 3), np.uint8))


@given(st.integers(0, 0xFFFF), st.integers(0, 31))
def test_the_plate_tells_its_seed_and_notices_a_false_cell(seed: int, cell: int) -> None:
    picture = np.full((180, 320, 3), 90, np.uint8)
    draw_plate(picture, seed)
    assert read_marker(picture) == seed

    row, column = divmod(cell, 8)
    top, left = 82 + 2 * row, 4 + 2 * column
    picture[top : top + 2, left : left + 2] = 255 - picture[top : top + 2, left : left + 2]
    assert read_marker(picture) is None


@pytest.mark.parametrize("width_px", [320, 960, 1280])
def test_an_uncompressed_picture_holds_the_markers_bytes(width_px: int) -> None:
    doorstep = Scene(7, 30.0, width_px=width_px, height_px=width_px * 9 // 16)
    picture = doorstep.frame(200)
    encoded = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")

    for luma in (encoded.to_ndarray(), luma_of(picture), small_luma(picture)):
        held = luma.tobytes()
        assert any(needle in held for needle in doorstep.marker_bytes())
    assert not any(needle in bytes(10**6) for needle in doorstep.marker_bytes())


def test_the_text_is_in_a_key_frame_for_any_byte_search(filmed: list[bytes]) -> None:
    marked = with_marker_text(filmed[0])

    assert MARKER_TEXT.encode() in marked
    assert MARKER_TEXT.encode() not in filmed[0]
    assert marked.replace(marker_sei(), b"") == filmed[0]


def test_the_text_stands_after_the_parameter_sets_and_before_the_first_slice(
    filmed: list[bytes],
) -> None:
    units = with_marker_text(filmed[0]).split(b"\x00\x00\x01")[1:]
    kinds = [unit[0] & 0x1F for unit in units]

    assert kinds.index(7) < kinds.index(8) < max(i for i, kind in enumerate(kinds) if kind == 6)
    assert kinds.index(5) == max(i for i, kind in enumerate(kinds) if kind == 6) + 1


def test_decoders_show_the_same_pictures_with_and_without_the_text(filmed: list[bytes]) -> None:
    marked = [with_marker_text(unit) for unit in filmed]

    for plain, with_text in zip(shown(filmed), shown(marked), strict=True):
        assert plain.tobytes() == with_text.tobytes()


def test_a_decoder_reads_the_text_as_user_data(filmed: list[bytes]) -> None:
    with av.open(io.BytesIO(with_marker_text(filmed[0])), "r", format="h264") as video:
        frame = next(video.decode(video=0))

    # PyAV's stubs call this a dictionary; it is a sequence of buffers.
    user_data = [bytes(data) for data in cast("Iterable[bytes]", frame.side_data)]
    assert any(data[16:] == MARKER_TEXT.encode() for data in user_data)


def test_the_text_survives_in_an_mp4(filmed: list[bytes]) -> None:
    stream = io.BytesIO(b"".join(with_marker_text(unit) for unit in filmed))
    mp4 = io.BytesIO()
    with av.open(stream, "r", format="h264") as video, av.open(mp4, "w", format="mp4") as out:
        copy = out.add_stream_from_template(video.streams.video[0])
        for number, packet in enumerate(video.demux(video=0)):
            if packet.size:
                packet.stream, packet.pts, packet.dts = copy, number * 80000, number * 80000
                out.mux(packet)

    assert MARKER_TEXT.encode() in mp4.getvalue()


@given(st.binary(max_size=64))
def test_bytes_without_a_slice_are_left_alone(junk: bytes) -> None:
    without_start_code = junk.replace(b"\x00\x00\x01", b"")

    assert with_marker_text(without_start_code) == without_start_code
