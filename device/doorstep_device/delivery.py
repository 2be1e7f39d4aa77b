"""The bulk connection: clips to the service, one object at a time, rings first.

It is a connection of its own so that a ring never waits behind a clip. The
protocol is `doorstep_shared.transfer`; here its actions are carried out.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Final, TypeAlias

import structlog

from doorstep_device.outbox import ClipGoneError, Outbox, PendingClip
from doorstep_device.ports.broker import (
    Broker,
    BrokerUnreachableError,
    Connected,
    Disconnected,
    Message,
)
from doorstep_device.ports.disk import DiskBrokenError
from doorstep_device.worker import Worker
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId, DeviceId
from doorstep_shared.manifest import ObjectName
from doorstep_shared.topics import Command, SegmentTopic, TransferTopic
from doorstep_shared.transfer import (
    Announce,
    Code,
    Finished,
    GaveUp,
    Init,
    Reason,
    Reply,
    SendAbort,
    Sender,
    SenderAction,
    SendFin,
    SendInit,
    SendSegment,
    decode_reply,
    encode_init,
)

# The receipt travels on the other connection; asking again brings it again.
RECEIPT_PATIENCE_S: Final = 10.0
# Refused, but perhaps not for ever: a doorbell whose owner is still listing it.
REFUSAL_PATIENCE_S: Final = 60.0
# Refused for ever, but by a message that nobody signed. Longer than a service remembers
# a spool it has quarantined.
NEVER_PATIENCE_S: Final = 25 * 3600.0
IDLE_S: Final = 30.0

log = structlog.get_logger()

Object: TypeAlias = tuple[ClipId, ObjectName]


class _News(Enum):
    """What concerns the object under way, beside replies to it."""

    LINE = "the line has changed"
    OUTBOX = "its clip may be gone"


class Delivery:
    """Brings announced clips to the service.

    Args:
        broker: The bulk connection.
        device: This doorbell.
        worker, outbox: The outbox is called on the worker only.
        now_us: Monotonic time of the network's own pace.
        announce_again: Told of a clip the service does not know.
    """

    def __init__(
        self,
        broker: Broker,
        device: DeviceId,
        *,
        worker: Worker,
        outbox: Outbox,
        now_us: Callable[[], int],
        announce_again: Callable[[ClipId], None],
    ) -> None:
        self._broker = broker
        self._device = device
        self._worker = worker
        self._outbox = outbox
        self._now_us = now_us
        self._announce_again = announce_again
        self._is_online = False
        self._nudged = asyncio.Event()
        self._not_before_us: dict[Object, int] = {}
        self._current: Object | None = None
        self._news: asyncio.Queue[Reply | _News] = asyncio.Queue()

    async def run(self) -> None:
        """Serve until cancelled."""
        self._broker.start()
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._listen(), name="delivery-listen")
            parts.create_task(self._deliver_all(), name="delivery-send")

    def nudge(self) -> None:
        """Look for clips to deliver now."""
        self._nudged.set()

    def service_is_back(self) -> None:
        """Ask at once what has arrived of the object under way, whatever its patience."""
        if self._current is not None:
            self._news.put_nowait(_News.LINE)

    def clips_deleted(self) -> None:
        """Stop the transfer of a clip that is not in the outbox any more."""
        if self._current is not None:
            self._news.put_nowait(_News.OUTBOX)

    async def _listen(self) -> None:
        async for happening in self._broker.happenings():
            match happening:
                case Connected(count):
                    log.info("broker_connected", connection="bulk", count=count)
                    self._is_online = True
                    self._news.put_nowait(_News.LINE)
                    self.nudge()
                case Disconnected(reason):
                    if self._is_online:
                        log.info("broker_lost", connection="bulk", reason=reason)
                    self._is_online = False
                    self._news.put_nowait(_News.LINE)
                case Message(_, body):
                    self._replied(body)

    def _replied(self, body: bytes) -> None:
        try:
            reply = decode_reply(body)
        except BadMessageError as error:
            log.warning("message_dropped", reason=error.fact)
            return
        if (reply.clip, reply.object) == self._current:
            self._news.put_nowait(reply)

    async def _deliver_all(self) -> None:
        while True:
            self._nudged.clear()
            clips = await self._worker.run(self._outbox.pending_clips)
            found = self._choose(clips) if self._is_online else None
            if found is not None:
                await self._deliver(*found)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_s()):
                    await self._nudged.wait()

    def _choose(self, clips: tuple[PendingClip, ...]) -> tuple[PendingClip, ObjectName] | None:
        """Return the first object that waits; the outbox lists rings first."""
        now_us = self._now_us()
        waiting = {(clip.clip, name) for clip in clips for name in clip.missing}
        self._not_before_us = {o: at for o, at in self._not_before_us.items() if o in waiting}
        for clip in clips:
            for name in clip.missing if clip.is_announced else ():
                if self._not_before_us.get((clip.clip, name), 0) <= now_us:
                    return clip, name
        return None

    def _idle_s(self) -> float:
        due_us = min(self._not_before_us.values(), default=None)
        return IDLE_S if due_us is None else max(0.01, (due_us - self._now_us()) / 1e6)

    async def _deliver(self, clip: PendingClip, name: ObjectName) -> None:
        """Bring one object there, or to where only time or a person helps."""
        sender = Sender(clip.manifest.objects[name].payload)
        self._news = asyncio.Queue()
        self._current = (clip.clip, name)
        actions = sender.connected(self._now_us())
        try:
            while not await self._carry_out(sender, actions):
                actions = await self._next_actions(sender)
        except ClipGoneError:
            log.info("clip_given_up", clip_id=clip.clip)  # the card was full
            with suppress(BrokerUnreachableError):
                await self._carry_out(sender, sender.cancel())
        except DiskBrokenError as error:
            # One spot of the card: the other clips need not wait for it.
            log.error("clip_unreadable", clip_id=clip.clip, reason=error.fact)  # noqa: TRY400  # the fact says it all
            self._wait_with((clip.clip, name), REFUSAL_PATIENCE_S)
        finally:
            self._current = None

    async def _next_actions(self, sender: Sender) -> tuple[SenderAction, ...]:
        """Wait for a reply, a change of the line or the sender's own time."""
        wake_us = sender.wake_us
        wait_s = None if wake_us is None else max(0.0, (wake_us - self._now_us()) / 1e6)
        try:
            async with asyncio.timeout(wait_s):
                news = await self._news.get()
        except TimeoutError:
            return sender.tick(self._now_us())
        if isinstance(news, Reply):
            return sender.replied(news, self._now_us())
        if news is _News.OUTBOX:
            # Asking for nothing of it says whether it is there.
            await self._worker.run(self._outbox.read_payload, *self._object(), 0, 0)
            return ()
        sender.disconnected()
        return sender.connected(self._now_us()) if self._is_online else ()

    async def _carry_out(self, sender: Sender, actions: tuple[SenderAction, ...]) -> bool:
        """Perform ``actions``; return whether the object is done with for now."""
        try:
            for action in actions:
                if await self._perform(action):
                    return True
        except BrokerUnreachableError:
            sender.disconnected()  # the loop goes on when the line is back
        return False

    async def _perform(self, action: SenderAction) -> bool:
        clip, name = self._object()
        match action:
            case SendInit(chunk):
                self._command(Command.INIT, encode_init(Init(chunk)))
            case SendSegment(offset, length):
                data = await self._worker.run(self._outbox.read_payload, clip, name, offset, length)
                topic = SegmentTopic(self._device, clip, name, offset)
                self._broker.publish(str(topic), data)
            case SendFin():
                self._command(Command.FIN, b"")
            case SendAbort():
                self._command(Command.ABORT, b"")
                return True
            case Announce():
                self._announce_again(clip)
            case Finished():
                log.info("object_uploaded", clip_id=clip, object=name.value)
                self._wait_with((clip, name), RECEIPT_PATIENCE_S)
                return True
            case GaveUp(code, reason):
                self._gave_up(code, reason)
                return True
        return False

    def _gave_up(self, code: Code, reason: str) -> None:
        clip, name = self._object()
        log.error("object_refused", clip_id=clip, object=name.value, code=code.value, reason=reason)
        if reason == Reason.DELETED:
            # On the other connection it comes with the proof; without it nothing is let go.
            self._announce_again(clip)
        patience_s = NEVER_PATIENCE_S if code is Code.NEVER else REFUSAL_PATIENCE_S
        self._wait_with((clip, name), patience_s)

    def _command(self, command: Command, body: bytes) -> None:
        clip, name = self._object()
        self._broker.publish(str(TransferTopic(self._device, clip, name, command)), body)

    def _wait_with(self, item: Object, seconds: float) -> None:
        self._not_before_us[item] = self._now_us() + int(seconds * 1e6)

    def _object(self) -> Object:
        if self._current is None:
            raise AssertionError("no object is under way")
        return self._current
