"""What rows measure on: a folder, one running stack, one household, its doorbells' cards.

Each is made when a row first asks for it, so that a row alone starts no more than it needs.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from doorstep_simulator.owner import Owner
from doorstep_simulator.processes import free_ports
from doorstep_simulator.stack import Ports, Stack
from tests.benchmarks.table import Row
from tests.running import found_household


def draw_ports() -> Ports:
    """Return ports away from 8080, which a person's own `make up` likes to take."""
    return Ports.draw(api=free_ports(1)[0])


class Lab:
    """A place to measure; use it as a context manager.

    Attributes:
        tell: Says what is going on, to whoever waits.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.running.close()

    @cached_property
    def folder(self) -> Path:
        """Return a folder that is removed at the end."""
        folder = TemporaryDirectory(prefix="doorstep-bench-", ignore_cleanup_errors=True)
        return Path(self.running.enter_context(folder))

    @cached_property
    def stack(self) -> Stack:
        """Return the whole service, running."""
        return self.running.enter_context(
            Stack(self.folder / "stack", ports=draw_ports(), tell=self.tell)
        )

    @cached_property
    def owner(self) -> Owner:
        """Return somebody with a household at the service."""
        return found_household(self.stack, self.folder)

    def make_card(self, name: str) -> Path:
        """Return the state folder of a doorbell that the household has listed."""
        card = self.folder / name
        self.owner.add_doorbell(card)
        return card


@dataclass(frozen=True, slots=True)
class Bench:
    """Rows that are measured together.

    Attributes:
        rows: Their names.
        measure: Returns them.
    """

    rows: tuple[str, ...]
    measure: Callable[[Lab], Iterable[Row]]
