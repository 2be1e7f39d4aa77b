"""Button and status light on the Raspberry Pi's pins, by gpiozero.

Its callbacks run on threads of the pin library and do nothing but hand over.
The simulator drives the same adapter with gpiozero's own mock pins.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator
from typing import Any, Final

from gpiozero import BadPinFactory, DigitalOutputDevice, PinFactoryFallback
from gpiozero.devices import Device
from gpiozero.input_devices import Button

from doorstep_device.adapters.handover import Handover
from doorstep_device.ports.clock import Clock
from doorstep_device.ports.panel import Light, NoPinsError
from doorstep_device.rules.press import Edge, Level
from doorstep_hardware.pins import Pins

# A stuck contact may chatter; the newest edges are the ones that count.
MAX_WAITING: Final = 256


class GpioPanel:
    """A `doorstep_device.ports.panel.Panel` on real or mock pins.

    Args:
        pins: Which pin serves what.
        clock: Stamps the edges.
        loop: Where `edges` is read.
        factory: Of gpiozero; None takes the one of this machine.

    Raises:
        NoPinsError: This machine has no pins.
    """

    def __init__(
        self,
        pins: Pins,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        factory: Any = None,  # noqa: ANN401  # gpiozero ships no types
    ) -> None:
        chosen = factory or _machine_factory()
        self._clock = clock
        self._edges: Handover[Edge] = Handover(loop, MAX_WAITING)
        # No debouncing here: back ends differ, so our own rule decides.
        self._button = Button(
            pins.button.bcm,
            pull_up=not pins.button.is_active_high,
            bounce_time=None,
            pin_factory=chosen,
        )
        self._light = DigitalOutputDevice(
            pins.status_light.bcm,
            active_high=pins.status_light.is_active_high,
            initial_value=False,
            pin_factory=chosen,
        )
        self._button.when_pressed = lambda: self._put(Level.HELD)
        self._button.when_released = lambda: self._put(Level.RELEASED)

    def edges(self) -> AsyncIterator[Edge]:
        """Yield every change of the button's contact until `close`."""
        return self._edges

    def show(self, light: Light) -> None:
        """Set the status light."""
        self._light.value = light is Light.RECORDING

    def close(self) -> None:
        """Give the pins back, light off, and end `edges`."""
        self._light.off()
        self._button.close()
        self._light.close()
        self._edges.end()

    def _put(self, level: Level) -> None:
        self._edges.put(Edge(level, self._clock.monotonic_us()))


def _machine_factory() -> Any:  # noqa: ANN401  # gpiozero ships no types
    """Return the pin library that works on this machine."""
    with warnings.catch_warnings():
        # It tells of every library it tries; only the end of the search matters.
        warnings.simplefilter("ignore", PinFactoryFallback)
        try:
            Device.ensure_pin_factory()
        except BadPinFactory as error:
            raise NoPinsError(
                "this computer has no pins for a button and a light",
                safe="Nothing was started.",
                do="run it on a Raspberry Pi; or, here: doorstep-sim doorbell FOLDER",
            ) from error
    return Device.pin_factory
