"""What waits to be handled: bounded, and fair between doorbells.

A doorbell that floods fills its own places and is served in its turn; what
does not fit is dropped, which costs nobody anything: doorbells repeat
whatever is not acknowledged.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from doorstep_shared.ids import DeviceId
from doorstep_shared.topics import Leaf

DEVICE_LIMIT: Final = 64
TOTAL_LIMIT: Final = 4096
TURN: Final = 4
"""Messages of one doorbell in a row."""


class Lane(Enum):
    """What is taken together; the two lanes take turns, so neither waits for a long other."""

    EVENTS = "events"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Message:
    """A control message as it came.

    Attributes:
        received_s: When it came, monotonic.
    """

    device: DeviceId
    leaf: Leaf
    payload: bytes
    received_s: float = field(default_factory=time.monotonic, compare=False)

    @property
    def lane(self) -> Lane:
        """Return where it waits: rings and motions wait for no clip's manifest."""
        return Lane.EVENTS if self.leaf in (Leaf.RING, Leaf.MOTION) else Lane.REST


class Inbox:
    """Messages between the broker's thread and the one that handles them."""

    def __init__(self, *, device_limit: int = DEVICE_LIMIT, total_limit: int = TOTAL_LIMIT) -> None:
        self._device_limit = device_limit
        self._total_limit = total_limit
        self._filled = threading.Condition()
        # Of each doorbell in the order of their turns; one without messages has no entry.
        self._waiting: dict[Lane, dict[DeviceId, deque[Message]]] = {lane: {} for lane in Lane}
        self._total = 0
        self._turn = Lane.EVENTS
        self._is_closed = False

    def put(self, message: Message) -> bool:
        """Let ``message`` wait; False if there is no place for it."""
        with self._filled:
            lane = self._waiting[message.lane]
            queue = lane.get(message.device)
            if self._is_closed or not self._has_place(queue):
                return False
            if queue is None:
                queue = lane[message.device] = deque()
            queue.append(message)
            self._total += 1
            self._filled.notify()
            return True

    def take(self, limit: int) -> list[Message]:
        """Return up to ``limit`` events, or a quarter as many of the rest, which take longer.

        Nothing once the inbox is closed. Waits for the first and never for a second.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._total > 0 or self._is_closed)
            if self._is_closed:
                return []
            lane = self._next_lane()
            if lane is self._waiting[Lane.REST]:
                limit = -(-limit // 4)
            taken: list[Message] = []
            while len(taken) < limit and lane:
                taken += self._take_turn(lane, limit - len(taken))
            self._total -= len(taken)
            return taken

    def waiting(self) -> Mapping[Lane, int]:
        """Return how many messages wait in each lane."""
        with self._filled:
            return {lane: sum(map(len, queues.values())) for lane, queues in self._waiting.items()}

    def close(self) -> None:
        """Wake the reader for the last time; what still waits is dropped."""
        with self._filled:
            self._is_closed = True
            self._filled.notify_all()

    def _has_place(self, queue: deque[Message] | None) -> bool:
        # A doorbell with nothing waiting always has one place, however full the rest is.
        if queue is None:
            return True
        return len(queue) < self._device_limit and self._total < self._total_limit

    def _next_lane(self) -> dict[DeviceId, deque[Message]]:
        other = Lane.REST if self._turn is Lane.EVENTS else Lane.EVENTS
        lane = self._turn if self._waiting[self._turn] else other
        self._turn = Lane.REST if lane is Lane.EVENTS else Lane.EVENTS
        return self._waiting[lane]

    def _take_turn(self, lane: dict[DeviceId, deque[Message]], limit: int) -> list[Message]:
        device = next(iter(lane))
        queue = lane.pop(device)
        taken = [queue.popleft() for _ in range(min(TURN, limit, len(queue)))]
        if queue:
            lane[device] = queue
        return taken
