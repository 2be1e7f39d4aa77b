"""The far side of a doorbell's two lines, in memory: a broker that a test holds, a service behind.

The service is honest unless a test makes it otherwise: it can lose what it would say,
and say what it should not.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from doorstep_device.ports.broker import (
    BrokerUnreachableError,
    Connected,
    Disconnected,
    Happening,
    Message,
)
from doorstep_shared.ids import ClipId, DeviceId, EventId
from doorstep_shared.manifest import Manifest, ObjectName, PayloadFacts, read_manifest
from doorstep_shared.receipts import Receipt, sign_receipt
from doorstep_shared.signing import Signed, SigningKey
from doorstep_shared.topics import (
    Command,
    DeviceTopic,
    Leaf,
    SegmentTopic,
    TransferTopic,
    parse_topic,
)
from doorstep_shared.transfer import (
    Code,
    Discard,
    Quarantine,
    Reason,
    Receiver,
    ReceiverAction,
    Reply,
    SendReceipt,
    Store,
    Subject,
    WriteSegment,
    decode_init,
    encode_reply,
)
from doorstep_shared.wire import Ack, Announcement, Body, Event, Hello, Statements, decode_body

PATIENCE_S = 10.0


async def until(is_so: Callable[[], bool], what: str = "this") -> None:
    """Return as soon as ``is_so()``, letting other tasks work meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen")
        await asyncio.sleep(0.001)


class ScriptedBroker:
    """Implements the device's `Broker`; a test is what lies behind it.

    Attributes:
        sent: What the doorbell published, oldest first.
        is_up: Whether there is a connection; the doorbell may be told of it later.
        on_sent: Called with each message.
        fails_after: So many more messages go through; then the connection is gone.
    """

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.is_up = False
        self.is_closed = False
        self.on_sent: Callable[[Message], None] = lambda _: None
        self.fails_after: int | None = None
        self._count = 0
        self._happenings: asyncio.Queue[Happening | None] = asyncio.Queue()

    def start(self) -> None:
        """As `Broker.start`: a test makes the connection."""

    async def happenings(self) -> AsyncIterator[Happening]:
        """As `Broker.happenings`."""
        while (happening := await self._happenings.get()) is not None:
            yield happening

    def publish(self, topic: str, body: bytes) -> None:
        """As `Broker.publish`."""
        if self.fails_after == 0:
            self.is_up = False
        if not self.is_up:
            raise BrokerUnreachableError("there is no connection to the broker")
        if self.fails_after is not None:
            self.fails_after -= 1
        message = Message(topic, body)
        self.sent.append(message)
        self.on_sent(message)

    async def close(self) -> None:
        """As `Broker.close`."""
        self.is_closed, self.is_up = True, False
        self._happenings.put_nowait(None)

    def connect(self) -> None:
        """Let the connection stand."""
        self._count += 1
        self.is_up, self.fails_after = True, None
        self._happenings.put_nowait(Connected(self._count))

    def disconnect(self) -> None:
        """Let the connection break."""
        self.is_up = False
        self._happenings.put_nowait(Disconnected("the line broke"))

    def say(self, topic: str, body: bytes) -> None:
        """Let a message arrive."""
        self._happenings.put_nowait(Message(topic, body))

    def bodies(self, leaf: Leaf) -> list[bytes]:
        """Return what was published on the topic ``leaf``."""
        return [m.body for m in self.sent if getattr(parse_topic(m.topic), "leaf", None) is leaf]


@dataclass(slots=True)
class Kept:
    """A clip at the service.

    Attributes:
        times: How often it was announced.
    """

    announcement: Announcement
    manifest: Manifest
    times: int = 1
    receivers: dict[ObjectName, Receiver] = field(default_factory=dict)
    spools: dict[ObjectName, bytearray] = field(default_factory=dict)
    stored: dict[ObjectName, bytes] = field(default_factory=dict)


class ScriptedService:
    """The service behind two scripted lines, for one doorbell.

    Attributes:
        events: Every event that arrived, repeated ones too.
        clips: What is announced, and what of it has come.
        loses_acks: So many acks are lost on the way.
        loses_replies: So many replies to transfers are.
        loses_segments: So many segments are lost before they come here.
        statements: What it answers a hello with.
        most_statements: So many at a time, of those after the head named; None for all it has.
        credit: Segments it takes at once.
        says: Changes what it says on ``ack``.
    """

    def __init__(
        self,
        device: DeviceId,
        control: ScriptedBroker,
        bulk: ScriptedBroker,
        receipt_key: SigningKey,
        statements: Iterable[Signed] = (),
    ) -> None:
        self.events: list[tuple[Leaf, EventId]] = []
        self.clips: dict[ClipId, Kept] = {}
        self.hellos: list[Hello] = []
        self.loses_acks = 0
        self.loses_replies = 0
        self.loses_segments = 0
        self.statements = list(statements)
        self.most_statements: int | None = None
        self.credit = 4
        self.says: Callable[[Ack], Ack] = lambda ack: ack
        self._device = device
        self._control = control
        self._bulk = bulk
        self._receipt_key = receipt_key
        control.on_sent = self._heed_control
        bulk.on_sent = self._heed_bulk

    def connect(self) -> None:
        """Let both lines stand."""
        self._control.connect()
        self._bulk.connect()

    def acknowledge(self, ack: Ack) -> None:
        """Say ``ack``, unless it gets lost."""
        if self.loses_acks:
            self.loses_acks -= 1
            return
        self.tell(Leaf.ACK, self.says(ack))

    def tell(self, leaf: Leaf, body: Body) -> None:
        """Say ``body`` on the topic ``leaf``."""
        self._control.say(str(DeviceTopic(self._device, leaf)), body.encode())

    def tell_statements(self, *statements: Signed) -> None:
        """Send statements, asked or not."""
        self.tell(Leaf.STATEMENTS, Statements(statements=statements))

    def receipt(self, clip: ClipId, name: ObjectName, facts: PayloadFacts) -> Signed:
        """Return a receipt of this service."""
        receipt = Receipt(
            device=self._device, clip=clip, object=name, size=facts.length, sha256=facts.sha256
        )
        return sign_receipt(receipt, self._receipt_key)

    def has_all_of(self, clip: ClipId) -> bool:
        """Return whether every object of ``clip`` is stored."""
        kept = self.clips.get(clip)
        return kept is not None and kept.stored.keys() == kept.manifest.objects.keys()

    def _heed_control(self, message: Message) -> None:
        topic = parse_topic(message.topic)
        assert isinstance(topic, DeviceTopic)
        match topic.leaf:
            case Leaf.HELLO:
                self.hellos.append(decode_body(Hello, message.body))
                if answer := self._after(self.hellos[-1]):
                    self.tell_statements(*answer)
            case Leaf.RING | Leaf.MOTION:
                event = decode_body(Event, message.body).event
                self.events.append((topic.leaf, event))
                self.acknowledge(Ack(events=(event,)))
            case Leaf.CLIP:
                self._announced(decode_body(Announcement, message.body))
            case _:
                pass

    def _after(self, hello: Hello) -> list[Signed]:
        if self.most_statements is None:
            return self.statements
        first = 0 if hello.statement is None else hello.statement.seq + 1
        return self.statements[first : first + self.most_statements]

    def _announced(self, announcement: Announcement) -> None:
        manifest = read_manifest(announcement.manifest)
        if manifest.clip in self.clips:
            self.clips[manifest.clip].times += 1
        else:
            self.clips[manifest.clip] = Kept(announcement, manifest)
        self.acknowledge(Ack(announced=(manifest.clip,)))

    def _heed_bulk(self, message: Message) -> None:
        topic = parse_topic(message.topic)
        assert isinstance(topic, TransferTopic | SegmentTopic)
        kept = self.clips.get(topic.clip)
        if kept is None:
            self._reply(_unknown(topic.clip, topic.object))
            return
        receiver = kept.receivers.get(topic.object)
        if receiver is None:
            facts = kept.manifest.objects[topic.object].payload
            receiver = Receiver(topic.clip, topic.object, facts, now_us=0, credit=self.credit)
            kept.receivers[topic.object] = receiver
            kept.spools[topic.object] = bytearray(facts.length)
        if isinstance(topic, SegmentTopic):
            if self.loses_segments:
                self.loses_segments -= 1
                return
            actions = receiver.segment(topic.offset, len(message.body), 0)
        elif topic.command is Command.INIT:
            actions = receiver.init(decode_init(message.body), 0)
        elif topic.command is Command.FIN:
            actions = receiver.fin(0)
        else:
            actions = receiver.abort(0)
        for action in actions:
            self._do(kept, topic.object, receiver, action, message.body)

    def _do(
        self, kept: Kept, name: ObjectName, receiver: Receiver, action: ReceiverAction, body: bytes
    ) -> None:
        following: tuple[ReceiverAction, ...] = ()
        match action:
            case Reply():
                self._reply(action)
            case WriteSegment(offset, length):
                kept.spools[name][offset : offset + length] = body
                following = receiver.written(action)
            case Store():
                following = self._store(kept, name, receiver)
            case SendReceipt():
                facts = kept.manifest.objects[name].payload
                receipt = self.receipt(kept.manifest.clip, name, facts)
                self.acknowledge(Ack(receipts=(receipt,)))
            case Discard() | Quarantine():
                pass
        for one in following:
            self._do(kept, name, receiver, one, body)

    def _store(
        self, kept: Kept, name: ObjectName, receiver: Receiver
    ) -> tuple[ReceiverAction, ...]:
        data = bytes(kept.spools[name])
        if hashlib.sha256(data).digest() != kept.manifest.objects[name].payload.sha256:
            return receiver.mismatched()
        kept.stored[name] = data
        return receiver.stored()

    def _reply(self, reply: Reply) -> None:
        if self.loses_replies:
            self.loses_replies -= 1
            return
        self._bulk.say(str(DeviceTopic(self._device, Leaf.FILE_REPLY)), encode_reply(reply))


def _unknown(clip: ClipId, name: ObjectName) -> Reply:
    return Reply(
        clip=clip,
        object=name,
        subject=Subject.INIT,
        code=Code.PAUSE,
        reason=Reason.CLIP_UNKNOWN,
        retry_after_ms=1,
    )
