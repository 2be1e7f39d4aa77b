"""The control connection: events and announcements out, acknowledgements in.

What was promised stays in the outbox and is sent again, ever more slowly, until
the service says that it has committed it. A broker's PUBACK says nothing: it
comes for a ring that no one was there to hear.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import structlog

from doorstep_device.commands import Commands
from doorstep_device.household import Membership
from doorstep_device.outbox import ClipGoneError, Outbox, PendingEvent
from doorstep_device.ports.broker import (
    Broker,
    BrokerUnreachableError,
    Connected,
    Disconnected,
    Message,
)
from doorstep_device.ports.disk import DiskBrokenError
from doorstep_device.rules.backoff import Backoff
from doorstep_device.worker import Worker
from doorstep_shared.commands import MAX_COMMAND_BYTES
from doorstep_shared.errors import BadMessageError, DoorstepError, TryLaterError
from doorstep_shared.ids import ClipId, DeviceId
from doorstep_shared.manifest import ClipKind
from doorstep_shared.signing import decode_signed
from doorstep_shared.statements import Head, MissingStatementError
from doorstep_shared.topics import DeviceTopic, Leaf, parse_topic
from doorstep_shared.wire import (
    DELETED,
    Ack,
    Answer,
    Body,
    Health,
    Hello,
    Statements,
    Status,
    decode_body,
)

HEALTH_EVERY_S: Final = 60.0
# Nothing is due: look again after this long all the same.
IDLE_S: Final = 30.0
# A ring pressed now waits behind what is on its way: some 30 KiB at the most, as an
# announcement has up to 8 KiB. What is not acknowledged after a while has left the line.
MOST_EVENTS: Final = 12
MOST_ANNOUNCEMENTS: Final = 4
ANSWER_US: Final = 2_000_000

# A service that was silent for longer may have been away, with the broker and our line up.
SILENCE_US: Final = 5_000_000

# A refused clip is kept as it is and offered again: nobody signed the refusal.
REFUSED_US: Final = 24 * 3600 * 1_000_000
UNPROVEN_US: Final = 600 * 1_000_000
# Statements with a gap are asked for again no more often; the service does not answer one
# that asks the same twice in a second.
HELLO_EVERY_S: Final = 2.0
# A hello may be lost, or its answer; nobody else would say that statements are missing.
HELLO_AT_LEAST_S: Final = 300.0
# As many commands as a service lets wait come at once after a hello. More are none of an
# owner's: they are dropped, and what was signed is said again.
MOST_COMMANDS: Final = 64
# A flood of them takes a twentieth of what the thread can do that also records.
COMMAND_EVERY_S: Final = 0.05

Item = TypeVar("Item", bound=Hashable)

log = structlog.get_logger()

# The order is that of sending: rings first.
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


@dataclass(frozen=True, slots=True)
class _Sent:
    """The last time something was sent."""

    at_us: int
    backoff: Backoff


@dataclass(slots=True)
class Attempts:
    """What was sent and not yet acknowledged, and when each is due again.

    Attributes:
        chance: Returns a random number from 0 to 1.
        most: So many at most are on their way at a time.
    """

    chance: Callable[[], float]
    most: int
    _sent: dict[Hashable, _Sent] = field(default_factory=dict)

    def choose(self, waiting: Iterable[Item], now_us: int) -> list[Item]:
        """Return which of ``waiting`` to send now: those tried least, and no more than fit."""
        due = [item for item in waiting if self.is_due(item, now_us)]
        due.sort(key=self._tries)
        on_their_way = sum(sent.at_us + ANSWER_US > now_us for sent in self._sent.values())
        return due[: max(0, self.most - on_their_way)]

    def is_due(self, item: Hashable, now_us: int) -> bool:
        """Return whether ``item`` may be sent now."""
        return item not in self._sent or self._sent[item].backoff.is_due(now_us)

    def sent(self, item: Hashable, now_us: int) -> bool:
        """Note that ``item`` was sent; return whether for the first time."""
        before = self._sent[item].backoff if item in self._sent else Backoff()
        self._sent[item] = _Sent(now_us, before.tried(now_us, self.chance()))
        return before.tries == 0

    @property
    def items(self) -> frozenset[Hashable]:
        """Return what was sent so far."""
        return frozenset(self._sent)

    def forget(self, items: Iterable[Hashable]) -> None:
        """Forget what is no longer waiting."""
        for item in items:
            self._sent.pop(item, None)

    def restart(self) -> None:
        """Make everything due now: the line is new."""
        self._sent.clear()

    def next_us(self, now_us: int) -> int | None:
        """Return when an item is due again, or leaves its place to another."""
        times = (t for s in self._sent.values() for t in (s.backoff.due_us, s.at_us + ANSWER_US))
        return min((time for time in times if time > now_us), default=None)

    def _tries(self, item: Hashable) -> int:
        return self._sent[item].backoff.tries if item in self._sent else 0


class Uplink:
    """Keeps the outbox's events and clips known to the service.

    Args:
        broker: The control connection.
        boot: This run.
        events_worker: Where the outbox's events are kept and read.
        worker: Where everything else of `outbox`, `membership` and `commands` is called.
        now_us: Monotonic time of the network's own pace.
        now_ms: Wall time, Unix milliseconds.
        is_synced: Whether that clock was set from outside.
        chance: Returns a random number from 0 to 1.
        read_health: Returns what ``ev/health`` says now.
        on_head: Told of a new verified head.
        on_announced: Told that clips may be transferred.
        on_service_back: Told that the service speaks after a silence.
        on_deleted: Told that clips may be gone.
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
        commands: Commands,
        now_us: Callable[[], int],
        now_ms: Callable[[], int],
        is_synced: Callable[[], bool],
        chance: Callable[[], float],
        read_health: Callable[[], Awaitable[Health]],
        on_head: Callable[[Head], Awaitable[None]],
        on_announced: Callable[[], None],
        on_service_back: Callable[[], None],
        on_deleted: Callable[[], None],
    ) -> None:
        self._broker = broker
        self._boot = boot
        self._events_worker = events_worker
        self._worker = worker
        self._outbox = outbox
        self._membership = membership
        self._commands = commands
        self._now_us = now_us
        self._now_ms = now_ms
        self._is_synced = is_synced
        self._read_health = read_health
        self._on_head = on_head
        self._on_announced = on_announced
        self._on_service_back = on_service_back
        self._on_deleted = on_deleted
        self._events = Attempts(chance, MOST_EVENTS)
        self._announcements = Attempts(chance, MOST_ANNOUNCEMENTS)
        self._announce_again: set[ClipId] = set()
        self._refused_until_us: dict[ClipId, int] = {}
        self._is_online = False
        self._connections = 0
        self._hello_at_us = 0
        self._heard_at_us = 0
        self._nudged = asyncio.Event()
        self._health_wanted = asyncio.Event()
        self._hello_wanted = asyncio.Event()
        # Commands as they came; None to go on with those that were taken.
        self._orders: asyncio.Queue[bytes | None] = asyncio.Queue(MOST_COMMANDS)
        self._is_flooded = False
        # When a command was put off by the disk: those behind it wait for it to come again.
        self._put_off_us: int | None = None

    async def run(self) -> None:
        """Serve until cancelled."""
        self._broker.start()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._listen(), name="uplink-listen")
            parts.create_task(self._send(), name="uplink-send")
            parts.create_task(self._tell_health(), name="uplink-health")
            parts.create_task(self._ask_again(), name="uplink-hello")
            parts.create_task(self._obey_all(), name="uplink-commands")

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
        self._announcements.forget([clip])
        self.nudge()

    def health_changed(self) -> None:
        """Tell health now, not only at the next minute."""
        self._health_wanted.set()

    def look_at_commands(self) -> None:
        """Go on with commands that wait for a clip's end or for the disk."""
        with suppress(asyncio.QueueFull):  # then it is looked at soon
            self._orders.put_nowait(None)

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
        self._events.restart()
        self._announcements.restart()
        self.nudge()
        self.health_changed()

    def _say_hello(self) -> None:
        """Name the head we hold; the service answers with what follows, one message at a time."""
        self._hello_at_us = self._now_us()
        self._go_on_with_commands()
        hello = Hello(
            boot=self._boot.boot,
            connections=self._connections,
            agent=self._boot.version,
            statement=self._membership.named_head(),
        )
        with suppress(BrokerUnreachableError):
            self._publish(Leaf.HELLO, hello)

    async def _ask_again(self) -> None:
        """Say hello when statements are missing: one may leave them out for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HELLO_AT_LEAST_S):
                    await self._hello_wanted.wait()
            said_s = (self._now_us() - self._hello_at_us) / 1e6
            await asyncio.sleep(max(0.0, HELLO_EVERY_S - said_s))
            self._hello_wanted.clear()
            self._say_hello()

    async def _heed(self, topic: str, body: bytes) -> None:
        """Act on one message; a bad one is dropped and told, and changes nothing."""
        try:
            leaf = getattr(parse_topic(topic), "leaf", None)
            if leaf is Leaf.ACK:
                await self._acknowledged(decode_body(Ack, body))
            elif leaf is Leaf.STATEMENTS:
                await self._grown(decode_body(Statements, body))
            elif leaf is Leaf.DELETE:
                self._ordered(body)
        except BadMessageError as error:
            log.warning("message_dropped", topic=topic, reason=error.fact)
        except DoorstepError as error:
            # A forged receipt, a forked chain: nothing was taken over.
            log.error("message_refused", topic=topic, reason=error.fact)  # noqa: TRY400  # the fact says it all

    async def _acknowledged(self, ack: Ack) -> None:
        self._heard_from_service()
        await self._events_worker.run(self._outbox.mark_events_acked, ack.events)
        for event in ack.events:
            log.info("event_acked", event_id=event)
        for clip in ack.announced:
            await self._worker.run(self._outbox.mark_announced, clip)
            log.info("clip_announced", clip_id=clip)
        for refused in ack.refused:
            # One that was deleted is offered again soon: the proof may be on its way.
            patience_us = UNPROVEN_US if refused.reason == DELETED else REFUSED_US
            self._refused_until_us[refused.clip] = self._now_us() + patience_us
            log.error("clip_refused", clip_id=refused.clip, reason=refused.reason)
        for deletion in ack.deletions:
            gone = await self._worker.run(self._outbox.mark_deleted, deletion)
            if gone is not None:
                log.info("clip_let_go", clip_id=gone, reason=DELETED)
        if ack.deletions:
            self._on_deleted()
        for receipt in ack.receipts:
            stored = await self._worker.run(self._outbox.mark_receipt, receipt, self._now_ms())
            if stored is not None:
                log.info("clip_stored", clip_id=stored)
        self._on_announced()
        self.nudge()

    def _heard_from_service(self) -> None:
        """Try everything at once when the service speaks again: it may have been away for long.

        The line to the broker stood meanwhile, so nothing else tells.
        """
        now_us = self._now_us()
        if now_us - self._heard_at_us > SILENCE_US:
            self._events.restart()
            self._announcements.restart()
            self._on_service_back()
        self._heard_at_us = now_us

    async def _grown(self, news: Statements) -> None:
        try:
            head = await self._worker.run(self._membership.accept, news.statements)
        except MissingStatementError:
            self._hello_wanted.set()
            return
        if head is not None:
            log.info("statements_accepted", seq=head.statement.seq)
            # The service may have refused what it now takes.
            self._refused_until_us.clear()
            await self._on_head(head)
            # There may be more, and there is an end to it: each was signed by an owner.
            self._say_hello()

    def _ordered(self, body: bytes) -> None:
        """Let a command wait for its turn: acknowledgements do not wait behind it."""
        if len(body) > MAX_COMMAND_BYTES:
            raise BadMessageError(f"{len(body)} bytes are too many for a command")
        if self._put_off_us is not None:
            return  # the next hello brings it again, behind the one that was put off
        try:
            self._orders.put_nowait(body)
        except asyncio.QueueFull:
            if not self._is_flooded:
                log.warning("commands_dropped", reason="more came than an owner signs")
            self._is_flooded = True

    async def _obey_all(self) -> None:
        while True:
            order = await self._orders.get()
            await self._obey(order)
            if self._orders.empty():
                self._is_flooded = False
            if order is not None:
                await asyncio.sleep(COMMAND_EVERY_S)

    async def _obey(self, order: bytes | None) -> None:
        """Do one command, or go on with those taken before; answer what is done or never will."""
        try:
            answers = await self._worker.run(self._answers_to, order)
        except BadMessageError as error:
            log.warning("message_dropped", topic=Leaf.DELETE.levels, reason=error.fact)
        except (TryLaterError, DiskBrokenError) as error:
            log.warning("command_put_off", reason=error.fact)
            if order is not None:
                self._put_off()
        except DoorstepError as error:
            # Forged, or signed by somebody whose statement has not come: no answer to either.
            log.error("command_refused", reason=error.fact)  # noqa: TRY400  # the fact says it all
        else:
            self._answer(answers)

    def _put_off(self) -> None:
        """Take no command until the next hello, whose answer brings all of them in order.

        A later one, taken now, would have the one put off refused for good.
        """
        self._put_off_us = self._now_us()
        while not self._orders.empty():
            self._orders.get_nowait()

    def _go_on_with_commands(self) -> None:
        """Take commands again, once those that were on their way with the one put off are past."""
        if self._put_off_us is None:
            return
        if self._now_us() - self._put_off_us >= HELLO_EVERY_S * 1e6:
            self._put_off_us = None

    def _answers_to(self, order: bytes | None) -> tuple[Answer, ...]:
        if order is None:
            return self._commands.finish()
        signed = decode_signed(order)
        return self._commands.take(signed, self._now_ms(), is_synced=self._is_synced())

    def _answer(self, answers: tuple[Answer, ...]) -> None:
        for answer in answers:
            if answer.is_done:
                log.info("command_done", counter=answer.counter)
            else:
                log.error("command_refused", counter=answer.counter, reason=answer.reason)
            with suppress(BrokerUnreachableError):  # it is asked for again after the next hello
                self._publish(Leaf.DELETE_ANSWER, answer)
        self._on_deleted()

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
        await self._send_events()
        await self._send_announcements()
        now_us = self._now_us()
        times = (self._events.next_us(now_us), self._announcements.next_us(now_us))
        due_us = min((time for time in times if time is not None), default=None)
        return IDLE_S if due_us is None else min(IDLE_S, (due_us - now_us) / 1e6)

    async def _send_events(self) -> None:
        # A ring that comes while we look is not in what we see: its attempt counts on.
        tried = self._events.items
        waiting = await self._events_worker.run(self._outbox.pending_events)
        self._events.forget(tried - {pending.event.event for pending in waiting})
        for kind in EVENT_LEAVES:
            of_kind = {p.event.event: p for p in waiting if p.kind is kind}
            for event in self._events.choose(of_kind, self._now_us()):
                self._send_event(of_kind[event])

    async def _send_announcements(self) -> None:
        tried = self._announcements.items
        clips = await self._worker.run(self._outbox.pending_clips)
        held, now_us = {clip.clip for clip in clips}, self._now_us()
        self._announce_again &= held
        self._refused_until_us = {
            clip: until_us
            for clip, until_us in self._refused_until_us.items()
            if clip in held and until_us > now_us
        }
        wanted = [c.clip for c in clips if not c.is_announced or c.clip in self._announce_again]
        unknown = [clip for clip in wanted if clip not in self._refused_until_us]
        self._announcements.forget(tried - set(unknown))
        for clip in self._announcements.choose(unknown, self._now_us()):
            with suppress(ClipGoneError):  # the card was full
                body = await self._worker.run(self._outbox.announcement, clip)
                self._publish(Leaf.CLIP, body)
                self._announce_again.discard(clip)
                self._announcements.sent(clip, self._now_us())

    def _send_event(self, pending: PendingEvent) -> None:
        event, now_us = pending.event, self._now_us()
        if not self._events.is_due(event.event, now_us):
            return
        self._publish(EVENT_LEAVES[pending.kind], event)
        if self._events.sent(event.event, now_us):
            log.info("event_published", event_id=event.event, kind=pending.kind.value)

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
