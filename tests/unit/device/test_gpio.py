"""Button and light on gpiozero's mock pins, through the adapter that drives the real ones."""

import asyncio
import threading
from collections.abc import Iterator
from typing import cast

import pytest
from gpiozero.pins.mock import MockFactory, MockPin

from doorstep_device.adapters.clock import SystemClock
from doorstep_device.adapters.gpio import MAX_WAITING, GpioPanel
from doorstep_device.ports.panel import Light
from doorstep_device.rules.press import Edge, Level
from doorstep_hardware.pins import Pin, Pins, read_pins

PINS = read_pins()


@pytest.fixture
def factory() -> Iterator[MockFactory]:
    """Simulated pins of one test's own."""
    pins = MockFactory()
    yield pins
    pins.reset()


def pin_of(factory: MockFactory, pin: Pin) -> MockPin:
    return cast("MockPin", factory.pin(pin.bcm))


def push(factory: MockFactory, pin: Pin, *, is_down: bool) -> None:
    """Close or open the contact, whichever level that is."""
    mock = pin_of(factory, pin)
    (mock.drive_high if is_down is pin.is_active_high else mock.drive_low)()


def panel(factory: MockFactory, pins: Pins = PINS) -> GpioPanel:
    return GpioPanel(pins, SystemClock(), asyncio.get_running_loop(), factory)


async def edges_of(shown: GpioPanel) -> list[Edge]:
    """Return what was queued, up to the close."""
    return [edge async for edge in shown.edges()]


async def test_a_press_and_a_release_are_two_edges_in_order(factory: MockFactory) -> None:
    shown = panel(factory)
    before_us = SystemClock().monotonic_us()
    push(factory, PINS.button, is_down=True)
    push(factory, PINS.button, is_down=False)
    shown.close()
    edges = await edges_of(shown)
    assert [edge.level for edge in edges] == [Level.HELD, Level.RELEASED]
    assert before_us <= edges[0].at_us <= edges[1].at_us <= SystemClock().monotonic_us()


async def test_every_bounce_is_told_since_only_the_rule_decides(factory: MockFactory) -> None:
    shown = panel(factory)
    for _ in range(5):
        push(factory, PINS.button, is_down=True)
        push(factory, PINS.button, is_down=False)
    shown.close()
    assert len(await edges_of(shown)) == 10


async def test_edges_from_another_thread_wake_the_reader(factory: MockFactory) -> None:
    shown = panel(factory)

    async def read_one() -> Edge:
        return await anext(shown.edges())

    reader = asyncio.create_task(read_one())
    await asyncio.sleep(0)
    finger = threading.Thread(target=lambda: push(factory, PINS.button, is_down=True))
    finger.start()
    async with asyncio.timeout(10):
        assert (await reader).level is Level.HELD
    finger.join()
    push(factory, PINS.button, is_down=False)
    shown.close()


async def test_of_a_chattering_contact_the_newest_edges_count(factory: MockFactory) -> None:
    shown = panel(factory)
    for _ in range(MAX_WAITING):
        push(factory, PINS.button, is_down=True)
        push(factory, PINS.button, is_down=False)
    shown.close()
    edges = await edges_of(shown)
    assert len(edges) == MAX_WAITING
    assert edges[-1].level is Level.RELEASED


@pytest.mark.parametrize("active", ["high", "low"])
async def test_the_light_is_lit_while_recording_whatever_level_lights_it(
    factory: MockFactory, active: str
) -> None:
    light = PINS.status_light.model_copy(update={"active": active})
    shown = panel(factory, PINS.model_copy(update={"status_light": light}))
    pin = pin_of(factory, light)
    lit, dark = (active == "high"), (active != "high")
    assert pin.state == dark
    shown.show(Light.RECORDING)
    assert pin.state == lit
    shown.show(Light.OFF)
    assert pin.state == dark
    shown.show(Light.RECORDING)
    shown.close()


async def test_closing_puts_the_light_out_first(factory: MockFactory) -> None:
    shown = panel(factory)
    pin = pin_of(factory, PINS.status_light)
    shown.show(Light.RECORDING)
    pin.clear_states()
    shown.close()
    assert [state.state for state in pin.states][-1] == (not PINS.status_light.is_active_high)


@pytest.mark.parametrize("active", ["high", "low"])
async def test_either_polarity_of_the_button_means_held(factory: MockFactory, active: str) -> None:
    button = PINS.button.model_copy(update={"active": active})
    shown = panel(factory, PINS.model_copy(update={"button": button}))
    push(factory, button, is_down=True)
    shown.close()
    assert [edge.level for edge in await edges_of(shown)] == [Level.HELD]
