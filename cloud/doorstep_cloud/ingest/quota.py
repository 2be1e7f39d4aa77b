"""How much one doorbell may send before it is put out for a while.

Ingest is fair between doorbells once it has read a message; the line from the
broker is one for all. So whoever fills that line is dismissed by the broker.
An honest doorbell never comes near, however fast it is answered; one that is put out all
the same loses a minute and nothing else.
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from doorstep_shared.ids import DeviceId

BANISHED_US: Final = 60 * 1_000_000
"""A doorbell that has gone wrong is let in again after a minute."""

REMEMBERED: Final = 4096
"""Doorbells whose spending is known; of more, who was heard longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket: so many at once, and so many a second after that.

    Attributes:
        burst: Messages that may come together.
        per_s: Messages a second that may come for ever.
    """

    burst: int
    per_s: int


CONTROL: Final = Allowance(burst=16_384, per_s=64)
"""Of everything but transfers: a card as full as it gets, all at once.

A doorbell that was away holds up to 10,000 events, and each acknowledgement makes room for
the next: nothing but the service's own pace slows it down. What is left, 6,384, is for its
announcements and for what it says again while an acknowledgement is on its way.
"""

UNASKED: Final = Allowance(burst=256, per_s=128)
"""Of transfers: commands, and segments that nobody waits for. Segments that are wanted are
bounded by what was announced."""


@dataclass(frozen=True, slots=True)
class _Account:
    spent: float
    at_us: int


class Quota:
    """What each doorbell has spent of an allowance. For one thread."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._accounts: dict[DeviceId, _Account] = {}

    def spend(self, device: DeviceId, now_us: int) -> bool:
        """Return whether ``device`` may send this message too."""
        account = self._accounts.pop(device, _Account(0.0, now_us))
        elapsed_s = max(0, now_us - account.at_us) / 1_000_000
        left = max(0.0, account.spent - elapsed_s * self._allowance.per_s)
        is_within = left + 1 <= self._allowance.burst
        self._accounts[device] = _Account(left + 1 if is_within else left, now_us)
        if len(self._accounts) > REMEMBERED:
            del self._accounts[next(iter(self._accounts))]
        return is_within


class Banished:
    """Doorbells that are out for a while. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until_us: dict[DeviceId, int] = {}

    def add(self, device: DeviceId, now_us: int) -> bool:
        """Put ``device`` out for a minute from ``now_us``; False if it is out already."""
        with self._lock:
            is_new = device not in self._until_us
            self._until_us[device] = now_us + BANISHED_US
            return is_new

    def without(self, devices: Iterable[DeviceId]) -> list[DeviceId]:
        """Return ``devices`` but those that are out."""
        with self._lock:
            return [device for device in devices if device not in self._until_us]

    def due(self, now_us: int) -> set[DeviceId]:
        """Return who has been out long enough."""
        with self._lock:
            return {device for device, until in self._until_us.items() if until <= now_us}

    def __len__(self) -> int:
        """Return how many are out."""
        with self._lock:
            return len(self._until_us)

    def forgive(self, devices: Iterable[DeviceId]) -> None:
        """Let ``devices`` in again."""
        with self._lock:
            for device in devices:
                self._until_us.pop(device, None)
