"""A whole day at a door: 500 events, 20 outages, and nothing that grows.

The agent is the real one, on a folder of this machine and simulated time; behind its lines is
the scripted service with the real receiver of transfers.
"""

import gc
import os
import random
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import pytest

from doorstep_device.adapters.disk import FolderDisk
from doorstep_shared.topics import Leaf
from doorstep_simulator.disk import SimulatedDisk
from tests.far_end import until
from tests.recording import VIDEO
from tests.simulated_doorbell import MOVING, SimulatedDoorbell, running_doorbell

SEED: Final = 20261122
DAY_S: Final = 24 * 3600
EVENTS: Final = 500
OUTAGES: Final = 20
# Of quiet times the doorbell is shown a key frame now and then.
IDLE_S: Final = 30
CAP_BYTES: Final = 2 * 1024 * 1024
# Beside the clips: event logs, chain, statements, and a clip that is being written.
BESIDE_BYTES: Final = 1024 * 1024
# What is kept of the last hundred events. The smallest clip each would be five times this.
LAST: Final = 100
GROWTH_BYTES: Final = 400_000
OURS: Final = ("*/doorstep_device/*", "*/doorstep_shared/*")


@dataclass(frozen=True, slots=True)
class Moment:
    """What happens at a second of the day."""

    at_s: int
    what: str


def plan(seed: int) -> list[Moment]:
    """Return the day's events and outages, in order."""
    luck = random.Random(seed)
    moments = [
        Moment(at_s, luck.choice(["ring", "motion", "motion", "both"]))
        for at_s in luck.sample(range(60, DAY_S - 3600), EVENTS)
    ]
    for number in range(OUTAGES):
        # One after another, each with an end before the next begins.
        slot_s = (DAY_S - 3600) // OUTAGES
        begin_s = number * slot_s + luck.randrange(slot_s // 2)
        moments.append(Moment(begin_s, luck.choice(["cut", "cut", "flap", "deaf", "torn"])))
        moments.append(Moment(begin_s + luck.randrange(60, slot_s // 2), "mend"))
    return sorted(moments, key=lambda moment: (moment.at_s, moment.what))


class Day:
    """Carries out a plan on one doorbell."""

    def __init__(self, bell: SimulatedDoorbell, folder: Path) -> None:
        self.bell = bell
        self.most_bytes = 0
        self.pressed = 0
        self.moved = 0
        self.stored: Counter[str] = Counter()
        self._folder = folder
        self._is_up = True

    @property
    def now_s(self) -> float:
        return self.bell.number / VIDEO.fps

    async def carry_out(self, moment: Moment) -> None:
        await self._idle_until(moment.at_s)
        match moment.what:
            case "ring":
                await self._ring()
            case "motion":
                await self._move()
            case "both":
                await self._move()
                await self._ring()
            case outage:
                self._happen(outage)

    def _happen(self, outage: str) -> None:
        service = self.bell.service
        match outage:
            case "cut":
                self._disconnect()
            case "flap":
                for _ in range(5):
                    self._disconnect()
                    self._connect()
                self._disconnect()
            case "deaf":
                service.loses_acks = 20
            case "torn":
                service.loses_segments = service.loses_replies = 20
            case "mend":
                service.loses_acks = service.loses_segments = service.loses_replies = 0
                if not self._is_up:
                    self._connect()

    async def end(self) -> None:
        """Let the day end; the service then has everything."""
        await self._idle_until(DAY_S)
        for _ in range(300):
            await self.bell.film(1)
            if not self.bell.outbox.pending_events() and not self.bell.outbox.pending_clips():
                break
        await until(lambda: not self.bell.outbox.pending_clips(), "the last clip")
        self.look()

    def look(self) -> None:
        """Measure the card, and let the far side forget what it has whole."""
        used = 0
        for folder, _, names in os.walk(self._folder):
            for name in names:
                # The doorbell works on: what was listed may be gone.
                with suppress(FileNotFoundError):
                    used += (Path(folder) / name).stat().st_blocks * 512
        self.most_bytes = max(self.most_bytes, used)
        service = self.bell.service
        for clip in [clip for clip in service.clips if service.has_all_of(clip)]:
            self.stored[clip] += 1
            del service.clips[clip]
        self.bell.control.sent.clear()
        self.bell.bulk.sent.clear()

    async def _ring(self) -> None:
        await self.bell.film(1)
        await self.bell.press()
        self.pressed += 1
        await self.bell.film(10)
        self.look()

    async def _move(self) -> None:
        await self.bell.film(1)
        await self.bell.film(2, MOVING)
        self.moved += 1
        await self.bell.film(10)
        self.look()

    async def _idle_until(self, at_s: int) -> None:
        while self.now_s + IDLE_S < at_s:
            self.bell.number += round((IDLE_S - 1 / VIDEO.fps) * VIDEO.fps)
            self.bell.number -= self.bell.number % round(VIDEO.fps)
            await self.bell.film(1 / VIDEO.fps)

    def _disconnect(self) -> None:
        self._is_up = False
        self.bell.control.disconnect()
        self.bell.bulk.disconnect()

    def _connect(self) -> None:
        self._is_up = True
        self.bell.service.connect()


@pytest.fixture
def card() -> Iterator[Path]:
    """A folder in memory where there is one: the syncs of a day take minutes on a disk."""
    memory = Path("/dev/shm")  # noqa: S108  # a private folder is made in it
    within = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=within, prefix="doorstep-day-") as folder:
        yield Path(folder)


@asynccontextmanager
async def doorbell(card: Path) -> AsyncIterator[SimulatedDoorbell]:
    # The simulated disk keeps every step it ever took, so that it can be cut; here it must not.
    disk = cast("SimulatedDisk", FolderDisk(card))
    async with running_doorbell(SimulatedDoorbell(disk=disk, cap_bytes=CAP_BYTES)) as bell:
        await bell.belong()
        yield bell


def kept_by_the_doorbell() -> int:
    """Return the bytes that its code has taken since tracing began, and still holds."""
    ours = [
        tracemalloc.Filter(inclusive=True, filename_pattern=f"*/{package}/*") for package in OURS
    ]
    found = tracemalloc.take_snapshot().filter_traces(ours)
    return sum(kept.size for kept in found.statistics("filename"))


@pytest.mark.timeout(300)  # on an idle machine it takes a tenth
async def test_a_day_of_500_events_and_20_outages_loses_nothing_and_grows_nothing(
    card: Path,
) -> None:
    moments = plan(SEED)
    async with doorbell(card) as bell:
        day = Day(bell, card)
        for moment in moments[:-LAST]:
            await day.carry_out(moment)
        tracemalloc.start()
        for moment in moments[-LAST:]:
            await day.carry_out(moment)
        await day.end()
        gc.collect()
        grown = kept_by_the_doorbell()
        tracemalloc.stop()
        rings = {event for leaf, event in bell.service.events if leaf is Leaf.RING}
        assert day.pressed + day.moved >= EVENTS
        assert len(rings) == day.pressed
        assert len(bell.motions()) == day.moved
        assert day.now_s > DAY_S - IDLE_S
        assert set(day.stored.values()) == {1}
        assert grown < GROWTH_BYTES
        assert day.most_bytes < CAP_BYTES + BESIDE_BYTES
