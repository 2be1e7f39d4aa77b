"""Facts: what a doorbell says of itself, one JSON line each, as they arrive."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Value: TypeAlias = str | int | float | bool | None
Hear: TypeAlias = Callable[["Fact"], None]

_LOOK_S: Final = 0.05
_OWN_FIELDS: Final = frozenset({"event", "at_ms"})


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened, in the past tense.

    Attributes:
        event: What, ``ring_pressed``.
        arrived_s: When it was read here, `time.monotonic`: comparable with what this
            process did itself, however fast the doorbell's clock runs.
        at_ms: The doorbell's wall time, Unix milliseconds; 0 if it did not say.
        details: Ids and figures.
    """

    event: str
    arrived_s: float
    at_ms: int = 0
    details: dict[str, Value] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """Return a detail as text; empty if there is none."""
        value = self.details.get(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> float:
        """Return a detail as a number; 0 if it is none."""
        value = self.details.get(name)
        return float(value) if isinstance(value, int | float) else 0.0


def parse_fact(line: str, arrived_s: float) -> Fact | None:
    """Return the fact in a line; None for a line that holds none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("event"), str):
        return None
    details = {
        str(name): value
        for name, value in found.items()
        if name not in _OWN_FIELDS and isinstance(value, str | int | float | bool | None)
    }
    at_ms = found.get("at_ms")
    return Fact(found["event"], arrived_s, at_ms if isinstance(at_ms, int) else 0, details)


class FactLog:
    """All facts of a run so far; filled by one thread, read by any."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self._changed = threading.Condition()
        self._hearers: list[Hear] = []

    def hear(self, hear: Hear) -> None:
        """Call ``hear`` with every fact from now on: in order, one at a time, and briefly."""
        with self._changed:
            self._hearers.append(hear)

    @contextmanager
    def heard_by(self, hear: Hear) -> Iterator[None]:
        """Call ``hear`` with every fact while the block runs."""
        self.hear(hear)
        try:
            yield
        finally:
            with self._changed:
                self._hearers.remove(hear)

    def add(self, fact: Fact) -> None:
        """Add a fact and wake whoever waits for it."""
        with self._changed:
            self._facts.append(fact)
            for hear in self._hearers:
                hear(fact)
            self._changed.notify_all()

    def all(self, *events: str) -> list[Fact]:
        """Return the facts of these kinds, or all, in the order of arrival."""
        with self._changed:
            return [fact for fact in self._facts if not events or fact.event in events]

    def first(self, event: str, **details: Value) -> Fact | None:
        """Return the first fact of a kind with these details; None if there is none."""
        for fact in self.all(event):
            if all(fact.details.get(name) == value for name, value in details.items()):
                return fact
        return None

    def wait_until(self, is_there: Callable[[], bool], timeout_s: float) -> bool:
        """Return True once ``is_there`` says so, asked at every fact; False after the time."""
        give_up_at = time.monotonic() + timeout_s
        while not is_there():
            left_s = give_up_at - time.monotonic()
            if left_s <= 0:
                return False
            with self._changed:
                # What is waited for may also change without a fact: look again soon.
                self._changed.wait(min(left_s, _LOOK_S))
        return True
