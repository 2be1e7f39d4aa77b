"""Which pin of the Raspberry Pi serves which purpose, as `pins.toml` says."""

import tomllib
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Pin(BaseModel):
    """One pin.

    Attributes:
        bcm: GPIO number of the processor, 0 to 27, as gpiozero counts.
        header: Pin of the 40-pin header it comes out on, 1 to 40.
        active: Level that means "pressed" or "lit".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bcm: Annotated[int, Field(ge=0, le=27)]
    header: Annotated[int, Field(ge=1, le=40)]
    active: Literal["low", "high"]

    @property
    def is_active_high(self) -> bool:
        """Whether the high level is the one that means something."""
        return self.active == "high"


class Pins(BaseModel):
    """The pins in use, by purpose.

    Attributes:
        button: The push button beside the door; its contact closes to ground.
        status_light: The light that shows recording, always.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    button: Pin
    status_light: Pin


def read_pins() -> Pins:
    """Return the pins of `pins.toml`, which is part of this package.

    Raises:
        ValueError: The file names an unknown purpose, leaves one out, or holds a number that
            no Raspberry Pi has.
    """
    text = files("doorstep_hardware").joinpath("pins.toml").read_text(encoding="utf-8")
    return Pins.model_validate(tomllib.loads(text))
