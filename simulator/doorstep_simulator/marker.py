"""The marker every simulated picture carries, so that a clear frame can be searched for.

It has three forms, one for each way a frame can lie somewhere it should not:

- a plate of cells drawn into the picture, found in a decoded frame (`find_marker`);
- a row of that plate as raw luma, found in uncompressed frames (`marker_bytes`);
- a text beside every key frame in the H.264 stream (`with_marker_text`), so that a plain
  byte search finds any MP4 or stream that was not sealed.
"""

from binascii import crc_hqx
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

MARKER_TEXT: Final = "DOORSTEP SCENE MARKER: THIS VIDEO IS IN THE CLEAR"

# Two pixels of the 320 by 180 analysis grid, so that the cells stay whole there too.
_CELL: Final = 2
_GRID_WIDTH: Final = 320
_LEFT: Final = 4
_TOP: Final = 80
_COLUMNS: Final = 8
_ROWS: Final = 5
# The first row is the same for every seed and has as many dark cells as light ones: it
# tells the threshold, and it is the row looked for in raw luma.
_FIRST_ROW: Final = (1, 0, 1, 1, 0, 0, 1, 0)
# Video range is 16 to 235 (ITU-R BT.601); some converters round white down to 234.
_LUMA_PAIRS: Final = ((16, 234), (16, 235), (0, 255))
_LEAST_CONTRAST: Final = 60
_BGR_DIMENSIONS: Final = 3

# A user_data_unregistered message is a 16-byte UUID and free bytes: H.264 (ITU-T H.264)
# sections 7.3.2.3 and D.1.7. The UUID holds no zero byte and the text is ASCII, so no
# emulation prevention is needed.
_UUID: Final = bytes.fromhex("d0095ce94d41524b8552444f4f525354")
_NAL_SEI: Final = 6
_NAL_SLICES: Final = frozenset({1, 2, 3, 4, 5})
_PAYLOAD_USER_DATA: Final = 5
_STOP_BIT: Final = 0x80
_START_CODE: Final = b"\x00\x00\x01"


def plate_cells(seed: int) -> NDArray[np.uint8]:
    """Return the plate of a seed: (7, 10) uint8, 0 or 255, a light border included.

    Below the fixed row stand the seed's low 16 bits and their CRC-16.
    """
    low = (seed & 0xFFFF).to_bytes(2, "big")
    code = np.frombuffer(low + crc_hqx(low, 0xFFFF).to_bytes(2, "big"), np.uint8)
    bits = np.concatenate([np.array(_FIRST_ROW, np.uint8), np.unpackbits(code)])
    return np.pad(bits.reshape(_ROWS, _COLUMNS) * np.uint8(255), 1, constant_values=255)


def draw_plate(image: NDArray[np.uint8], seed: int) -> None:
    """Put the plate into a picture, on the left door post.

    Args:
        image: (h, w, 3) uint8 BGR, 16:9, w a multiple of 320; drawn into.
        seed: The number the plate tells.
    """
    pixels = _CELL * image.shape[1] // _GRID_WIDTH
    cells = np.kron(plate_cells(seed), np.ones((pixels, pixels), np.uint8))
    top, left = (edge // _CELL * pixels - pixels for edge in (_TOP, _LEFT))
    height, width = cells.shape
    image[top : top + height, left : left + width] = cells[:, :, np.newaxis]


def read_marker(frame: NDArray[np.uint8]) -> int | None:
    """Return the low 16 bits of the seed told by a picture's plate.

    Args:
        frame: (h, w) luma or (h, w, 3) BGR, the whole picture at any size from 320 by 180.

    Returns:
        None if there is no plate. A picture without one passes for one in 1 of 2^24.
    """
    luma = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if frame.ndim == _BGR_DIMENSIONS else frame
    values = _cell_values(np.asarray(luma, np.uint8))
    light, dark = (values[0][np.array(_FIRST_ROW) == bit].mean() for bit in (1, 0))
    if light - dark < _LEAST_CONTRAST:
        return None
    bits = (values > (light + dark) / 2).astype(np.uint8)
    code = np.packbits(bits[1:]).tobytes()
    if (
        tuple(bits[0].tolist()) != _FIRST_ROW
        or crc_hqx(code[:2], 0xFFFF).to_bytes(2, "big") != code[2:]
    ):
        return None
    return int.from_bytes(code[:2], "big")


def find_marker(frame: NDArray[np.uint8]) -> bool:
    """Return whether a decoded picture shows the plate of any seed."""
    return read_marker(frame) is not None


def marker_bytes(width_px: int) -> tuple[bytes, ...]:
    """Return forms of the plate's first row as raw luma, at that width and for analysis.

    A picture in the clear holds one of them: in video range as an encoder gets it, or in
    full range as a motion rule does. They are the same for every seed.
    """
    widths = dict.fromkeys((width_px, _GRID_WIDTH))
    return tuple(_row_bytes(width, *pair) for width in widths for pair in _LUMA_PAIRS)


def _row_bytes(width_px: int, dark: int, light: int) -> bytes:
    pixels = _CELL * width_px // _GRID_WIDTH
    row = (1, *_FIRST_ROW, 1)
    return b"".join(bytes([light if bit else dark]) * pixels for bit in row)


def with_marker_text(access_unit: bytes) -> bytes:
    """Return an Annex B access unit with the text in a SEI message before its first slice.

    Decoders ignore the message. A unit without a slice is returned as it is.
    """
    at = _first_slice(access_unit)
    if at is None:
        return access_unit
    return access_unit[:at] + marker_sei() + access_unit[at:]


def marker_sei() -> bytes:
    """Return the SEI NAL unit that carries the text, start code included."""
    payload = _UUID + MARKER_TEXT.encode("ascii")
    return (
        b"\x00"
        + _START_CODE
        + bytes([_NAL_SEI, _PAYLOAD_USER_DATA, len(payload)])
        + payload
        + bytes([_STOP_BIT])
    )


def _first_slice(access_unit: bytes) -> int | None:
    """Return where the start code of the first slice begins."""
    at = access_unit.find(_START_CODE)
    while at >= 0 and at + len(_START_CODE) < len(access_unit):
        if access_unit[at + len(_START_CODE)] & 0x1F in _NAL_SLICES:
            return at - 1 if at and access_unit[at - 1] == 0 else at
        at = access_unit.find(_START_CODE, at + 1)
    return None


def _cell_values(luma: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean luma in the middle of each cell, (5, 8)."""
    cell = _CELL * luma.shape[1] / _GRID_WIDTH
    left, top = (edge / _CELL * cell for edge in (_LEFT, _TOP))
    values = np.empty((_ROWS, _COLUMNS))
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            y, x = top + row * cell, left + column * cell
            middle = luma[
                int(y + cell * 0.25) : max(int(y + cell * 0.75), int(y + cell * 0.25) + 1),
                int(x + cell * 0.25) : max(int(x + cell * 0.75), int(x + cell * 0.25) + 1),
            ]
            values[row, column] = middle.mean()
    return values
