"""H.264 as cameras send it: units behind start codes (ITU-T H.264, Annex B)."""

from enum import IntEnum
from typing import Final

_START: Final = b"\x00\x00\x01"


class Unit(IntEnum):
    """The types of a unit that matter here (table 7-1)."""

    IDR = 5  # a picture with which decoding can begin
    SPS = 7
    PPS = 8


def unit_types(data: bytes) -> list[int]:
    """Return the types of the units in ``data``, in order."""
    return [unit[0] & 0x1F for unit in _units(data)]


def parameter_sets(data: bytes) -> bytes:
    """Return the SPS and PPS in ``data``, each behind a start code; empty without both."""
    sets = [unit for unit in _units(data) if unit[0] & 0x1F in {Unit.SPS, Unit.PPS}]
    if {unit[0] & 0x1F for unit in sets} != {Unit.SPS, Unit.PPS}:
        return b""
    return b"".join(b"\x00" + _START + unit for unit in sets)


def _units(data: bytes) -> list[bytes]:
    """Return the units; a zero at the end of one is the start code's that follows."""
    units = (unit.rstrip(b"\x00") for unit in data.split(_START)[1:])
    return [unit for unit in units if unit]
