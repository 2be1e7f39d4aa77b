"""The doorbell's side of one object's way to the service, as a state machine.

Events in, actions out; no socket, file or clock. The caller carries the
actions out in order and brings every reply, the passing of time and the state
of the connection. Times are monotonic microseconds of any one clock.

What has arrived is never remembered here: every ``init`` is answered with all
the receiver holds, so a restart of either side is only another ``init``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from doorstep_shared.manifest import PayloadFacts
from doorstep_shared.transfer.messages import (
    CHUNK_BYTES,
    Code,
    Reason,
    Reply,
    Subject,
)
from doorstep_shared.transfer.ranges import Ranges
from doorstep_shared.transfer.window import Window

WATCHDOG_US: Final = 5_000_000
WATCHDOG_RTTS: Final = 8
# The watchdog doubles with every setback up to eight times itself (as RFC 6298 does).
MAX_DOUBLINGS: Final = 3
QUICK_RETRIES: Final = 3
PAUSE_US: Final = 1_000_000
MAX_PAUSE_US: Final = 60_000_000


class SenderState(StrEnum):
    """Where one object stands on the doorbell."""

    QUEUED = "queued"
    INIT = "init"
    SENDING = "sending"
    FIN = "fin"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class SenderCause(StrEnum):
    """What moves a sender from one state to the next."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    WANTED = "bytes are wanted"
    COMPLETE = "everything has arrived"
    ASK = "ask what is held"
    WAIT = "told to wait"
    STORED = "stored"
    REFUSED = "refused for good"
    CANCELLED = "cancelled here"


def _transitions() -> Mapping[tuple[SenderState, SenderCause], SenderState]:
    state, cause = SenderState, SenderCause
    table = {
        (state.QUEUED, cause.CONNECTED): state.INIT,
        (state.QUEUED, cause.CANCELLED): state.CANCELLED,
        (state.INIT, cause.WANTED): state.SENDING,
        (state.INIT, cause.COMPLETE): state.FIN,
        (state.SENDING, cause.WANTED): state.SENDING,
        (state.SENDING, cause.COMPLETE): state.FIN,
        (state.PAUSED, cause.ASK): state.INIT,
    }
    for waiting in (state.INIT, state.SENDING, state.FIN):
        table[waiting, cause.ASK] = state.INIT
        table[waiting, cause.WAIT] = state.PAUSED
    for online in (state.INIT, state.SENDING, state.FIN, state.PAUSED):
        table[online, cause.DISCONNECTED] = state.QUEUED
        table[online, cause.STORED] = state.DONE
        table[online, cause.REFUSED] = state.CANCELLED
        table[online, cause.CANCELLED] = state.CANCELLED
    return MappingProxyType(table)


SENDER_TRANSITIONS: Final = _transitions()
"""Every move a sender can make; any other is a programming error."""

_WAITING: Final = (SenderState.INIT, SenderState.SENDING, SenderState.FIN)
_ONLINE: Final = (*_WAITING, SenderState.PAUSED)


@dataclass(frozen=True, slots=True)
class SendInit:
    """Publish ``…/init`` asking for segments of ``chunk`` bytes."""

    chunk: int


@dataclass(frozen=True, slots=True)
class SendSegment:
    """Read ``length`` bytes of the payload at ``offset`` and publish ``…/{offset}``."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class SendFin:
    """Publish ``…/fin``, empty."""


@dataclass(frozen=True, slots=True)
class SendAbort:
    """Publish ``…/abort``, empty; nobody waits for its reply."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Publish ``ev/clip`` again: the service does not know the clip."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The service says it is stored. Only its signed receipt lets the doorbell forget."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The service will never take this object; the doorbell keeps it.

    Attributes:
        code: `NEVER`, `NOT_ALLOWED` or `MALFORMED`.
        reason: The service's word for it.
    """

    code: Code
    reason: str


SenderAction: TypeAlias = (
    SendInit | SendSegment | SendFin | SendAbort | Announce | Finished | GaveUp
)
SenderActions: TypeAlias = tuple[SenderAction, ...]


class Sender:
    """Bring one object to the service, however often the line or either end fails.

    Args:
        facts: Length and hash of the payload, as in the signed manifest.
        chunk: Segment size to ask for, bytes; the receiver grants the same or less.
    """

    def __init__(self, facts: PayloadFacts, *, chunk: int = CHUNK_BYTES) -> None:
        self._length = facts.length
        self._asked = chunk
        self._chunk = chunk
        self._state = SenderState.QUEUED
        self._have = Ranges()
        # Segments on the way and when they left; None where the delay would mislead.
        self._left_us: dict[int, int | None] = {}
        self._ever_sent: set[int] = set()
        self._credit = 0
        self._window = Window()
        self._srtt_us = 0
        self._setbacks = 0
        self._wake_us: int | None = None

    @property
    def state(self) -> SenderState:
        """Return where the object stands."""
        return self._state

    @property
    def wake_us(self) -> int | None:
        """Return when `tick` has something to do; None if only an event can help."""
        return self._wake_us

    @property
    def setbacks(self) -> int:
        """Return how often it had to ask again since the last byte arrived, for logs."""
        return self._setbacks

    @property
    def in_flight_bytes(self) -> int:
        """Return how many bytes left and are neither answered nor given up."""
        return sum(self._size_of(offset) for offset in self._left_us)

    @property
    def arrived_bytes(self) -> int:
        """Return how many bytes the receiver is known to hold, for a progress bar."""
        return min(self._have.size, self._length)

    def connected(self, now_us: int) -> SenderActions:
        """Begin or resume: the connection stands and the clip is announced."""
        if self._state is not SenderState.QUEUED:
            return ()
        return self._ask(SenderCause.CONNECTED, now_us)

    def disconnected(self) -> SenderActions:
        """Give up what is on the way; `connected` asks what has arrived.

        The caller drops what its MQTT library still has queued: the receiver
        says what is missing.
        """
        if self._state in _ONLINE:
            self._stop(SenderCause.DISCONNECTED)
        return ()

    def cancel(self) -> SenderActions:
        """Stop for good from this side, as when the card is full."""
        if self._state is SenderState.QUEUED:
            self._stop(SenderCause.CANCELLED)
            return ()
        if self._state in _ONLINE:
            self._stop(SenderCause.CANCELLED)
            return (SendAbort(),)
        return ()

    def tick(self, now_us: int) -> SenderActions:
        """Ask again after a pause, or when nothing was heard for too long.

        Too long is 5 s or eight round trips, doubled with every setback.
        """
        if self._wake_us is None or now_us < self._wake_us:
            return ()
        if self._state is not SenderState.PAUSED:
            self._setbacks += 1
        return self._ask(SenderCause.ASK, now_us)

    def replied(self, reply: Reply, now_us: int) -> SenderActions:
        """Take one ``fr`` of this clip and object, late and repeated ones included."""
        if self._state not in _ONLINE:
            return ()
        if self._state is not SenderState.PAUSED:
            self._wake_us = now_us + self._patience_us()
        return self._heed(reply, now_us)

    def _heed(self, reply: Reply, now_us: int) -> SenderActions:
        match self._state, reply.subject, reply.code:
            case _, Subject.FIN, Code.OK:
                self._stop(SenderCause.STORED)
                return (Finished(),)
            case _, Subject.INIT | Subject.FIN, Code.NEVER | Code.NOT_ALLOWED | Code.MALFORMED:
                return self._give_up(reply)
            case SenderState.INIT, Subject.INIT, _:
                return self._init_answered(reply, now_us)
            case SenderState.SENDING, Subject.OFFSET, _ if reply.offset is not None:
                return self._segment_answered(reply, reply.offset, now_us)
            case SenderState.FIN, Subject.FIN, _:
                return self._set_back(reply, now_us)
            case _:
                return ()

    def _init_answered(self, reply: Reply, now_us: int) -> SenderActions:
        if reply.code is not Code.OK:
            return self._set_back(reply, now_us)
        if reply.chunk != self._chunk:
            self._chunk = reply.chunk
            self._ever_sent.clear()
        self._credit = reply.credit
        self._learn(reply.have)
        return self._continue(now_us)

    def _segment_answered(self, reply: Reply, offset: int, now_us: int) -> SenderActions:
        if reply.code is Code.OK:
            self._credit = reply.credit
            self._measure(offset, now_us)
            self._learn(self._have.union(reply.have))
            return self._continue(now_us)
        if offset not in self._left_us:
            return ()
        if reply.code is Code.AGAIN and self._is_quick(reply):
            self._setbacks += 1
            self._credit = reply.credit
            del self._left_us[offset]
            return self._continue(now_us)
        # A refusal too: it may answer a segment cut to an older grant. An init tells.
        return self._set_back(reply, now_us)

    def _set_back(self, reply: Reply, now_us: int) -> SenderActions:
        """Ask again: at once for the first few times, then after a pause."""
        quick = self._is_quick(reply)
        self._setbacks += 1
        if quick:
            return self._ask(SenderCause.ASK, now_us)
        self._stop(SenderCause.WAIT)
        self._wake_us = now_us + (reply.retry_after_ms * 1000 or self._pause_us())
        return (Announce(),) if reply.reason == Reason.CLIP_UNKNOWN else ()

    def _is_quick(self, reply: Reply) -> bool:
        waits = reply.code is Code.PAUSE or reply.retry_after_ms > 0
        return not waits and self._setbacks < QUICK_RETRIES

    def _give_up(self, reply: Reply) -> SenderActions:
        self._stop(SenderCause.REFUSED)
        return (GaveUp(reply.code, reply.reason),)

    def _ask(self, cause: SenderCause, now_us: int) -> SenderActions:
        self._stop(cause)
        self._window = Window()
        self._wake_us = now_us + self._patience_us()
        return (SendInit(self._asked),)

    def _continue(self, now_us: int) -> SenderActions:
        if self._have.covers(0, self._length):
            self._stop(SenderCause.COMPLETE)
            self._wake_us = now_us + self._patience_us()
            return (SendFin(),)
        self._move(SenderCause.WANTED)
        self._wake_us = now_us + self._patience_us()
        return tuple(self._send(offset, now_us) for offset in self._wanted())

    def _wanted(self) -> list[int]:
        """Return the lowest offsets to send now, as many as the window has room for."""
        room = min(self._window.size, self._credit) - len(self._left_us)
        wanted: list[int] = []
        offset = self._have.upto // self._chunk * self._chunk
        while len(wanted) < room and offset < self._length:
            end = offset + self._size_of(offset)
            if offset not in self._left_us and not self._have.covers(offset, end):
                wanted.append(offset)
            offset = end
        return wanted

    def _send(self, offset: int, now_us: int) -> SendSegment:
        # A reply to a repeated segment may answer either (Karn; RFC 6298 section 3).
        self._left_us[offset] = None if offset in self._ever_sent else now_us
        self._ever_sent.add(offset)
        return SendSegment(offset, self._size_of(offset))

    def _measure(self, offset: int, now_us: int) -> None:
        left_us = self._left_us.get(offset)
        if left_us is None:
            return
        delay_us = now_us - left_us
        self._srtt_us = delay_us if self._srtt_us == 0 else (7 * self._srtt_us + delay_us) // 8
        self._window = self._window.feed(delay_us)

    def _learn(self, have: Ranges) -> None:
        """Take over what the receiver holds; more than before ends a row of setbacks."""
        if have.size > self._have.size:
            self._setbacks = 0
        self._have = have
        for offset in [*self._left_us]:
            if have.covers(offset, offset + self._size_of(offset)):
                del self._left_us[offset]

    def _size_of(self, offset: int) -> int:
        return min(self._chunk, self._length - offset)

    def _patience_us(self) -> int:
        patience = max(WATCHDOG_US, WATCHDOG_RTTS * self._srtt_us)
        return patience << min(self._setbacks, MAX_DOUBLINGS)

    def _pause_us(self) -> int:
        return min(MAX_PAUSE_US, PAUSE_US << min(self._setbacks - 1, 6))

    def _stop(self, cause: SenderCause) -> None:
        """Move to a state in which no segment is on the way."""
        self._left_us.clear()
        self._wake_us = None
        self._move(cause)

    def _move(self, cause: SenderCause) -> None:
        self._state = SENDER_TRANSITIONS[self._state, cause]
