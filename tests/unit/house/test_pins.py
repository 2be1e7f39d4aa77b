"""The pins of `pins.toml` exist, are distinct, and come out where it says."""

import pytest
from pydantic import ValidationError

from doorstep_hardware.pins import Pin, Pins, read_pins

# GPIO number -> header pin, from the Raspberry Pi's pinout (the same since the 40-pin header).
HEADER_PIN = {
    2: 3, 3: 5, 4: 7, 5: 29, 6: 31, 7: 26, 8: 24, 9: 21, 10: 19, 11: 23, 12: 32, 13: 33, 14: 8,
    15: 10, 16: 36, 17: 11, 18: 12, 19: 35, 20: 38, 21: 40, 22: 15, 23: 16, 24: 18, 25: 22,
    26: 37, 27: 13,
}  # fmt: skip


def all_pins() -> dict[str, Pin]:
    pins = read_pins()
    return {purpose: getattr(pins, purpose) for purpose in Pins.model_fields}


def test_no_two_purposes_share_a_pin() -> None:
    numbers = [pin.bcm for pin in all_pins().values()]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("purpose", Pins.model_fields)
def test_each_pin_comes_out_where_the_file_says(purpose: str) -> None:
    pin = all_pins()[purpose]
    assert pin.header == HEADER_PIN[pin.bcm]


def test_a_light_stays_dark_until_the_agent_lights_it() -> None:
    light = read_pins().status_light
    assert light.is_active_high
    assert light.bcm >= 9  # 0 to 8 are pulled up at reset


def test_the_button_closes_to_ground() -> None:
    assert not read_pins().button.is_active_high


def test_an_unknown_purpose_is_refused() -> None:
    pins = read_pins().model_dump()
    with pytest.raises(ValidationError, match="trapdoor"):
        Pins.model_validate(pins | {"trapdoor": pins["button"]})
