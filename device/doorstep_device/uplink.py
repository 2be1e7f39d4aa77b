"""The control connection: events and announcements out, acknowledgements in.

What was promised stays in the outbox and is sent again, ever more slowly, until
the service says that it has committed it. A broker's PUBACK says nothing: it
comes for a ring that no one was there to hear.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from doorstep_device.household import Membership
from doorstep_device.outbox import ClipGoneError, Outbox, PendingClip, PendingEvent
from doorstep_device.ports.broker import (
    Broker,
    BrokerUnreachableError,
    Connected,
    Disconnected,
    Message,
)
from doorstep_device.rules.backoff import Backoff
from doorstep_device.worker import Worker
from doorstep_shared.errors import BadMessageError, DoorstepError
from doorstep_shared.ids import ClipId, DeviceId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.statements import Head, MissingStatementError
from doorstep_shared.topics import DeviceTopic, Leaf, parse_topic
from doorstep_shared.wire import Ack, Body, Health, Hello, Statements, Status, decode_body

HEALTH_EVERY_S: Final = 60.0
# Nothing is due: look again after this long all the same.
IDLE_S: Final = 30.0

log = structlog.get_logger()

EVENT_LEAVES: Final = {ClipKind.RING: Leaf.RING, ClipKind.MOTION: Leaf.MOTION}


@dataclass(frozen=True, slots=True)
class Boot:
    """This run of the agent.

    Attributes:
        device: Which doorbell.
        boot: 128 random bits in hex, drawn at start.
        version: Of the agent.
    """

    device: DeviceId
    boot: str
    version: str

    def topic(self, leaf: Leaf) -> str:
        """Return this doorbell's topic ``leaf``."""
        return str(DeviceTopic(self.device, leaf))

    def status(self, connections: int, *, online: bool) -> Status:
        """Return the status of the connection of that count."""
        return Status(boot=self.boot, connections=connections, online=online)

    def will(self, connections: int) -> Message:
        """Return what the broker says for us when that connection breaks."""
        status = self.status(connections, online=False)
        return Message(self.topic(Leaf.STATUS), status.encode())


@dataclass(slots=True)
class Attempts:
    """What was sent and not yet acknowledged, and when each is due again.

    Attributes:
        chance: Returns a random number from 0 to 1.
    """

    chance: Callable[[], float]
    _made: dict[Hashable, Backoff] = field(default_factory=dict)

    def is_due(self, item: Hashable, now_us: int) -> bool:
        """Return whether ``item`` is to be sent now."""
        return self._made.get(item, Backoff()).is_due(now_us)

    def sent(self, item: Hashable, now_us: int) -> bool:
        """Note that ``item`` was sent; return whether for the first time."""
        before = self._made.get(item, Backoff())
        self._made[item] = before.tried(now_us, self.chance())
        return before.tries == 0

    @property
    def items(self) -> frozenset[Hashable]:
        """Return what was sent so far."""
        return frozenset(self._made)

    def forget(self, items: Iterable[Hashable]) -> None:
        """Forget what is no longer waiting."""
        for item in items:
            self._made.pop(item, None)

    def restart(self) -> None:
        """Make everything due now: the line is new."""
        self._made.clear()

    def next_due_us(self) -> int | None:
        """Return when the next item is due again."""
        return min((made.due_us for made in self._made.values()), default=None)


class Uplink:
    """Keeps the outbox's events and clips known to the service.

    Args:
        broker: The control connection.
        boot: This run.
        events_worker: Where the outbox's events are kept and read.
        worker: Where everything else of `outbox` and `membership` is called.
        now_us: Monotonic time of the network's own pace.
        chance: Returns a random number from 0 to 1.
        read_health: Returns what ``ev/health`` says now.
        on_head: Told of a new verified head.
        on_announced: Told that clips may be transferred.
    """

    def __init__(
        self,
        broker: Broker,
        boot: Boot,
        *,
        events_worker: Worker,
        worker: Worker,
        outbox: Outbox,
        membership: Membership,
        now_us: Callable[[], int],
        now_ms: Callable[[], int],
        chance: Callable[[], float],
        read_health: Callable[[], Awaitable[Health]],
        on_head: Callable[[Head], Awaitable[None]],
        on_announced: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._boot = boot
        self._events_worker = events_worker
        self._worker = worker
        self._outbox = outbox
        self._membership = membership
        self._now_us = now_us
        self._now_ms = now_ms
        self._read_health = read_health
        self._on_head = on_head
        self._on_announced = on_announced
        self._attempts = Attempts(chance)
        self._announce_again: set[ClipId] = set()
        self._is_online = False
        self._connections = 0
        self._nudged = asyncio.Event()
        self._health_wanted = asyncio.Event()

    async def run(self) -> None:
        """Serve until cancelled."""
        self._broker.start()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._listen(), name="uplink-listen")
            parts.create_task(self._send(), name="uplink-send")
            parts.create_task(self._tell_health(), name="uplink-health")

    @property
    def is_online(self) -> bool:
        """Return whether the control connection stands."""
        return self._is_online

    def nudge(self) -> None:
        """Send what is new in the outbox now."""
        self._nudged.set()

    def send_event(self, pending: PendingEvent) -> None:
        """Send an event that was just stored, at once; it is repeated until acknowledged."""
        if self._is_online:
            with suppress(BrokerUnreachableError):
                self._send_event(pending)
        self.nudge()

    def announce_again(self, clip: ClipId) -> None:
        """Announce ``clip`` again: the service does not know it."""
        self._announce_again.add(clip)
        self.nudge()

    def health_changed(self) -> None:
        """Tell health now, not only at the next minute."""
        self._health_wanted.set()

    async def _listen(self) -> None:
        async for happening in self._broker.happenings():
            match happening:
                case Connected(count):
                    await self._greet(count)
                case Disconnected(reason):
                    if self._is_online:
                        log.info("broker_lost", connection="control", reason=reason)
                    self._is_online = False
                case Message(topic, body):
                    await self._heed(topic, body)

    async def _greet(self, count: int) -> None:
        self._is_online = True
        self._connections = count
        log.info("broker_connected", connection="control", count=count)
        with suppress(BrokerUnreachableError):
            self._publish(Leaf.STATUS, self._boot.status(count, online=True))
        self._say_hello()
        self._attempts.restart()
        self.nudge()
        self.health_changed()

    def _say_hello(self) -> None:
        """Name the head we hold; the service answers with what came after it."""
        hello = Hello(
            boot=self._boot.boot,
            connections=self._connections,
            agent=self._boot.version,
            statement=self._membership.named_head(),
        )
        with suppress(BrokerUnreachableError):
            self._publish(Leaf.HELLO, hello)

    async def _heed(self, topic: str, body: bytes) -> None:
        """Act on one message; a bad one is dropped and told, and changes nothing."""
        try:
            leaf = getattr(parse_topic(topic), "leaf", None)
            if leaf is Leaf.ACK:
                await self._acknowledged(decode_body(Ack, body))
            elif leaf is Leaf.STATEMENTS:
                await self._grown(decode_body(Statements, body))
        except BadMessageError as error:
            log.warning("message_dropped", topic=topic, reason=error.fact)
        except DoorstepError as error:
            # A forged receipt, a forked chain: nothing was taken over.
            log.error("message_refused", topic=topic, reason=error.fact)  # noqa: TRY400  # the fact says it all

    async def _acknowledged(self, ack: Ack) -> None:
        await self._events_worker.run(self._outbox.mark_events_acked, ack.events)
        for event in ack.events:
            log.info("event_acked", event_id=event)
        for clip in ack.announced:
            await self._worker.run(self._outbox.mark_announced, clip)
            log.info("clip_announced", clip_id=clip)
        for refused in ack.refused:
            await self._worker.run(self._outbox.mark_refused, refused.clip, refused.reason)
            log.error("clip_refused", clip_id=refused.clip, reason=refused.reason)
        for receipt in ack.receipts:
            stored = await self._worker.run(self._outbox.mark_receipt, receipt, self._now_ms())
            if stored is not None:
                log.info("clip_stored", clip_id=stored)
        self._on_announced()
        self.nudge()

    async def _grown(self, news: Statements) -> None:
        try:
            head = await self._worker.run(self._membership.accept, news.statements)
        except MissingStatementError:
            self._say_hello()
            return
        if head is not None:
            log.info("statements_accepted", seq=head.statement.seq)
            await self._on_head(head)

    async def _send(self) -> None:
        while True:
            self._nudged.clear()
            wait_s = IDLE_S
            if self._is_online:
                with suppress(BrokerUnreachableError):
                    wait_s = await self._send_what_is_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._nudged.wait()

    async def _send_what_is_due(self) -> float:
        """Send events, then announcements; return seconds until something is due again."""
        # A ring that comes while we look is not in what we see: its attempt counts on.
        tried = self._attempts.items
        events = await self._events_worker.run(self._outbox.pending_events)
        clips = await self._worker.run(self._outbox.pending_clips)
        unknown = [c for c in clips if not c.is_announced or c.clip in self._announce_again]
        for pending in events:
            self._send_event(pending)
        for clip in unknown:
            with suppress(ClipGoneError):  # the card was full
                await self._send_announcement(clip)
        self._announce_again &= {clip.clip for clip in clips}
        waiting = {*(e.event.event for e in events), *(c.clip for c in unknown)}
        self._attempts.forget(tried - waiting)
        due_us = self._attempts.next_due_us()
        if due_us is None:
            return IDLE_S
        return min(IDLE_S, max(0.0, (due_us - self._now_us()) / 1e6))

    def _send_event(self, pending: PendingEvent) -> None:
        event, now_us = pending.event, self._now_us()
        if not self._attempts.is_due(event.event, now_us):
            return
        self._publish(EVENT_LEAVES[pending.kind], event)
        if self._attempts.sent(event.event, now_us):
            log.info("event_published", event_id=event.event, kind=pending.kind.value)

    async def _send_announcement(self, clip: PendingClip) -> None:
        now_us = self._now_us()
        if clip.clip in self._announce_again or self._attempts.is_due(clip.clip, now_us):
            body = await self._worker.run(self._outbox.announcement, clip.clip)
            self._publish(Leaf.CLIP, body)
            self._announce_again.discard(clip.clip)
            self._attempts.sent(clip.clip, now_us)

    async def _tell_health(self) -> None:
        while True:
            self._health_wanted.clear()
            if self._is_online:
                health = await self._read_health()
                with suppress(BrokerUnreachableError):
                    self._publish(Leaf.HEALTH, health)
            with suppress(TimeoutError):
                async with asyncio.timeout(HEALTH_EVERY_S):
                    await self._health_wanted.wait()

    def _publish(self, leaf: Leaf, body: Body) -> None:
        self._broker.publish(self._boot.topic(leaf), body.encode())
