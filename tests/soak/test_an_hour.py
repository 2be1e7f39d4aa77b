"""One hour of the whole product in real time: every ring and clip arrives, and nothing grows.

`DOORSTEP_SOAK_MINUTES` makes it shorter.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.stack import Stack
from tests.running import Home, ring

MINUTES: Final = float(os.environ.get("DOORSTEP_SOAK_MINUTES", "60"))
BETWEEN_RINGS_S: Final = 30.0
MIB: Final = 1024 * 1024
# Caches fill in the first fifth; after it each process may grow by so much in all.
WARM: Final = 0.2
GROWTH_BYTES: Final = {"agent": 24 * MIB, "service": 48 * MIB, "broker": 8 * MIB}


class Watch:
    """Resident bytes of each process, sampled."""

    def __init__(self, stack: Stack, bell: Doorbell) -> None:
        pids = {"agent": bell.pid, "service": stack.cloud.pid, "broker": stack.broker.pid}
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._samples: dict[str, list[int]] = {name: [] for name in pids}

    def look(self) -> None:
        """Take a sample."""
        for name, process in self._processes.items():
            self._samples[name].append(process.memory_info().rss)

    def growth(self) -> dict[str, float]:
        """Return how much more each took at the end than once it was warm, in bytes."""
        found = {}
        for name, samples in self._samples.items():
            tenth = max(1, len(samples) // 10)
            warm = round(len(samples) * WARM)
            after, last = samples[warm : warm + tenth], samples[-tenth:]
            found[name] = statistics.median(last) - statistics.median(after)
        return found


@contextmanager
def running(folder: Path) -> Iterator[tuple[Home, Doorbell]]:
    with Stack(folder / "stack") as stack:
        home = Home.found(stack, folder)
        with home.doorbell(speed=1.0) as bell:
            yield home, bell


def test_an_hour_of_rings_and_visitors_loses_nothing_and_grows_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with running(tmp_path) as (home, bell):
        watch, rings = Watch(home.stack, bell), []
        end_s = time.monotonic() + MINUTES * 60
        while time.monotonic() < end_s:
            rings.append(ring(bell))
            watch.look()
            # Real time is what this trial is made of.
            time.sleep(BETWEEN_RINGS_S)
        home.wait_until_stored(rings[-1])
        growth = watch.growth()
        for name, grown in growth.items():
            record_property(f"{name}_growth_mib", f"{grown / MIB:.1f}")
        told = [event.id for event in home.owner.events(limit=1000) if event.kind == "ring"]
        assert sorted(told) == sorted(rings)
        held = {event for clip in home.owner.clips(1000) for event in clip.events}
        assert held >= set(rings)
        assert all(growth[name] < most for name, most in GROWTH_BYTES.items()), growth
        assert not bell.facts.all("broker_lost")
