"""The panel: what a visitor touches and sees at the door."""

from collections.abc import AsyncIterator
from enum import Enum
from typing import Protocol

from doorstep_device.rules.press import Edge
from doorstep_shared.errors import RefusedError


class NoPinsError(RefusedError):
    """This computer has no pins for a button and a light."""


class Light(Enum):
    """What the status light shows."""

    OFF = "off"
    RECORDING = "recording"


class Panel(Protocol):
    """The button and the status light."""

    def edges(self) -> AsyncIterator[Edge]:
        """Yield every change of the button's contact, bounces included, until `close`."""
        ...

    def show(self, light: Light) -> None:
        """Set the status light."""
        ...

    def close(self) -> None:
        """Give the pins back, light off, and end `edges`."""
        ...
