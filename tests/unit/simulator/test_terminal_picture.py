import io
import os
import re
from fractions import Fraction
from html import unescape
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from doorstep_simulator import terminal_picture as terminal_picture_module
from doorstep_simulator.block import BLOCK
from doorstep_simulator.film_strip import film_strip
from doorstep_simulator.terminal_picture import (
    MAX_STRIP_BYTES,
    Typed,
    terminal_picture,
    write_pictures,
)

RUN = [
    Typed("make demo", "\x1b[33m09:42:22\x1b[0m  ring, at the service after 12 ms\n"),
    Typed('curl "$API/v1/clips/latest/file.age" | age -d > clip.mp4', ""),
]


def words(svg: str) -> str:
    return unescape("".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))).replace("\xa0", " ")


def noisy_clip() -> bytes:
    """A clip whose film strip does not compress well."""
    out, chance = io.BytesIO(), np.random.default_rng(1)
    with av.open(out, "w", format="mp4") as clip:
        stream = clip.add_stream("libx264", 5, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for index in range(10):
            image = chance.integers(0, 256, (360, 640, 3), np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, 5)
            clip.mux(stream.encode(frame))
        clip.mux(stream.encode(None))
    return out.getvalue()


def test_the_terminal_shows_commands_and_what_they_said() -> None:
    said = words(terminal_picture(RUN))

    assert "$ make demo" in said
    assert "09:42:22  ring, at the service after 12 ms" in said
    assert '$ curl "$API/v1/clips/latest/file.age" | age -d > clip.mp4' in said


@pytest.mark.parametrize("command", BLOCK)
def test_no_command_of_the_block_is_broken(command: str) -> None:
    assert f"  {command}" in words(terminal_picture([Typed("make demo", f"  {command}")]))


def test_the_terminal_asks_nothing_of_the_network() -> None:
    svg = terminal_picture(RUN)

    assert not re.search(r"@font-face|url\((?!#)|href", svg)
    assert re.findall(r"https?://[^\s\"']+", svg) == ["http://www.w3.org/2000/svg"]
    assert "monospace" in svg


def test_the_same_run_gives_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    before = terminal_picture(RUN)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")

    assert terminal_picture(RUN) == before


@pytest.mark.parametrize("output", ["</svg><script>alert(1)</script>", "[bold]not markup[/bold]"])
def test_what_a_command_said_is_shown_as_it_is(output: str) -> None:
    assert output in words(terminal_picture([Typed("x", output)]))


def test_the_readmes_pictures_are_written_and_small(tmp_path: Path) -> None:
    before = os.umask(0o077)  # as the command sets it
    try:
        terminal, strip = write_pictures(tmp_path / "pictures", RUN, noisy_clip())
    finally:
        os.umask(before)

    assert (terminal.name, strip.name) == ("terminal.svg", "film-strip.jpg")
    assert terminal.read_text(encoding="utf-8") == terminal_picture(RUN)
    assert strip.stat().st_size < MAX_STRIP_BYTES
    assert [path.stat().st_mode & 0o777 for path in (terminal, strip)] == [0o644, 0o644]
    assert cv2.imread(str(strip)) is not None


def test_a_strip_too_large_for_the_readme_is_compressed_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = noisy_clip()
    height_px = 240
    assert len(film_strip(clip, 5, height_px)) > MAX_STRIP_BYTES
    monkeypatch.setattr(terminal_picture_module, "_STRIP_HEIGHT_PX", height_px)

    _, strip = write_pictures(tmp_path, RUN, clip)

    assert strip.stat().st_size < MAX_STRIP_BYTES
