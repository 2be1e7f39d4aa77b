"""The README's pictures: a terminal as SVG, and a film strip that fits a page."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from doorstep_simulator.film_strip import film_strip

# The longest command of the block, indented, fits without a break.
COLUMNS: Final = 116
_STRIP_FRAMES: Final = 5
_STRIP_HEIGHT_PX: Final = 200
MAX_STRIP_BYTES: Final = 200_000
_LEAST_QUALITY: Final = 40
_THEME: Final = TerminalTheme(
    (22, 27, 32),
    (220, 224, 226),
    [
        (60, 70, 78),
        (240, 113, 103),
        (125, 207, 142),
        (245, 178, 92),
        (110, 168, 236),
        (198, 146, 233),
        (79, 195, 192),
        (200, 206, 210),
    ],
    [
        (118, 130, 138),
        (255, 140, 130),
        (150, 226, 166),
        (255, 200, 120),
        (140, 190, 250),
        (216, 172, 246),
        (120, 220, 216),
        (240, 243, 245),
    ],
)
# Rich's SVG names a web font and where to fetch it; a picture in a README must not make
# its reader's browser ask anybody, so the reader's own monospace font has to do.
_FONT_FACE: Final = re.compile(r"@font-face\s*\{[^}]*\}\s*")
_COMMENT: Final = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_FONT_NAME: Final = re.compile(r"font-family:\s*Fira Code,\s*monospace")
_FONTS: Final = "font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True, slots=True)
class Typed:
    """One command as it was typed, and what it said.

    Attributes:
        command: The command, one line or more.
        output: What it printed; colours as ANSI sequences are kept.
    """

    command: str
    output: str


def terminal_picture(lines: Sequence[Typed], title: str = "doorstep") -> str:
    """Return a terminal with these commands as an SVG that asks nothing of the network.

    Args:
        lines: Commands in the order they were typed, from a real run.
        title: The window's title.
    """
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        no_color=False,
        legacy_windows=False,
    )
    for number, typed in enumerate(lines):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "green"), (typed.command, "bold")))
        if typed.output:
            console.print(Text.from_ansi(typed.output.rstrip("\n")))
    # The id is part of every class name: without it, it would be a hash of the text.
    svg = console.export_svg(title=title, theme=_THEME, unique_id="doorstep")
    return _FONT_NAME.sub(_FONTS, _FONT_FACE.sub("", _COMMENT.sub("", svg, count=1)))


def write_pictures(folder: Path, lines: Sequence[Typed], clip: bytes) -> tuple[Path, Path]:
    """Write `terminal.svg` and `film-strip.jpg`; return their paths.

    Args:
        folder: Made if it is missing.
        lines: Commands and what they said, from a real run.
        clip: An opened clip, as MP4.

    Raises:
        NoPictureError: The clip cannot be decoded.
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    terminal, strip = folder / "terminal.svg", folder / "film-strip.jpg"
    for picture in (terminal, strip):  # for everybody who reads the README, whatever the umask
        picture.touch()
        picture.chmod(0o644)
    terminal.write_text(terminal_picture(lines), encoding="utf-8")
    strip.write_bytes(_small_enough(film_strip(clip, _STRIP_FRAMES, _STRIP_HEIGHT_PX)))
    return terminal, strip


def _small_enough(jpeg: bytes) -> bytes:
    """Return the JPEG, compressed more until it is under `MAX_STRIP_BYTES`."""
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    for quality in range(80, _LEAST_QUALITY - 1, -10):
        if len(jpeg) < MAX_STRIP_BYTES or image is None:
            break
        jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return jpeg
