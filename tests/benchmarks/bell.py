"""The real agent without a camera, in a thread of this process, its facts timed as they fall.

Button, outbox, uplink and delivery are the doorbell's own; the pins are gpiozero's mock.
"""

import asyncio
import os
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import structlog
from gpiozero.pins.mock import MockFactory, MockPin

from doorstep_device.adapters.clock import PacedClock
from doorstep_device.adapters.gpio import GpioPanel
from doorstep_device.agent import Agent
from doorstep_device.bootstrap import DeviceSettings, build_agent
from doorstep_device.clip_ending import Ending
from doorstep_device.outbox import Outbox, Start
from doorstep_hardware.pins import read_pins
from doorstep_shared.ids import ClipId, draw_event_id
from doorstep_shared.manifest import ClipKind
from doorstep_simulator.facts import Fact, FactLog

WAIT_S = 30.0
# The rule takes presses within two seconds for one visit; on a clock this much faster than
# the world they are a tenth of a second apart.
CLOCK_RATE = 25.0
HELD_S = 0.02

T = TypeVar("T")


class Bell:
    """A running doorbell; use it as a context manager.

    Attributes:
        facts: What it said, stamped with this process's monotonic clock as it was said.
    """

    def __init__(self, card: Path) -> None:
        self.facts = FactLog()
        self._card = card
        self._factory = MockFactory()
        self._pins = read_pins()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bell", daemon=True)
        self._agent: Agent
        self._running: Future[None]

    def __enter__(self) -> Self:
        structlog.configure(processors=[self._take_fact])
        self._thread.start()
        self._agent = self._call(self._build())
        self._running = asyncio.run_coroutine_threadsafe(self._agent.run(), self._loop)
        for connection in ("control", "bulk"):
            self.wait_for("broker_connected", connection=connection)
        # Without a statement that lists it, a doorbell has nobody to seal to.
        self._wait_until(lambda: self._agent._parts.membership.sealing() is not None)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.cancel()
        with suppress(CancelledError):
            self._running.result(WAIT_S)
        # The agent is cancelled first and closes its connections after that.
        self.wait_for("agent_stopped")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        structlog.reset_defaults()

    def press(self) -> float:
        """Press the button for a moment; return when the contact closed."""
        pin = cast("MockPin", self._factory.pin(self._pins.button.bcm))
        pressed_s = time.monotonic()
        pin.drive_low()
        time.sleep(HELD_S)
        pin.drive_high()
        return pressed_s

    def keep_clip(self, size_bytes: int) -> ClipId:
        """Return a clip of random bytes, sealed and durable, which nobody was told of yet."""
        parts = self._agent._parts
        return self._call(parts.worker.run(self._write, parts.outbox, os.urandom(size_bytes)))

    def deliver(self) -> float:
        """Tell the uplink that something waits, as the recorder does; return when."""
        started_s = time.monotonic()
        self._loop.call_soon_threadsafe(self._agent._uplink.nudge)
        return started_s

    def wait_for(self, event: str, **details: str) -> Fact:
        """Return the first fact of that kind with these details, as soon as it is there."""
        self._wait_until(lambda: self.facts.first(event, **details) is not None)
        fact = self.facts.first(event, **details)
        assert fact is not None
        return fact

    def read_payload(self, clip: ClipId) -> Path:
        """Return the file that holds a clip's payload."""
        return self._card / "outbox" / clip / "payload"

    async def _build(self) -> Agent:
        clock = PacedClock(CLOCK_RATE)
        return build_agent(
            settings=DeviceSettings(state_dir=self._card),
            panel=GpioPanel(self._pins, clock, self._loop, self._factory),
            make_camera=None,
            clock=clock,
        )

    def _write(self, outbox: Outbox, data: bytes) -> ClipId:
        sealing = self._agent._parts.membership.sealing()
        assert sealing is not None
        now_ms = time.time_ns() // 1_000_000
        event = draw_event_id(now_ms, secrets.token_bytes)
        start = Start(ClipKind.RING, (event,), 1, 6000, now_ms, clock_synced=True)
        writer = outbox.begin_clip(sealing, start)
        return outbox.finish_clip(writer, data, Ending(media_ms=20_000, is_last=True)).clip

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        if not self.facts.wait_until(is_so, WAIT_S):
            said = ", ".join(fact.event for fact in self.facts.all()[-8:])
            raise TimeoutError(f"the doorbell did not get there; it last said: {said}")

    def _take_fact(
        self, _logger: object, _method: str, fact: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event = str(fact.pop("event"))
        self.facts.add(Fact(event, time.monotonic(), 0, dict(fact)))
        raise structlog.DropEvent
