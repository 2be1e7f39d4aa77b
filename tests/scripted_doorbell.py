"""A doorbell that follows a script: honest on the wire, and able to be dishonest.

It uses what both ends share, and a broker; no camera, no outbox.
"""

import hashlib
import queue
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from doorstep_shared.age_keys import Recipient
from doorstep_shared.ids import ClipId, DeviceId, EventId, HouseholdId, draw_clip_id, draw_event_id
from doorstep_shared.manifest import (
    ClipKind,
    EnvelopeFacts,
    Manifest,
    ObjectFacts,
    ObjectName,
    PayloadFacts,
    sign_manifest,
)
from doorstep_shared.receipts import Receipt, verify_receipt
from doorstep_shared.seal import Sealed, seal_bytes
from doorstep_shared.signing import Signed, VerifyKey
from doorstep_shared.topics import (
    Command,
    DeviceTopic,
    Leaf,
    SegmentTopic,
    TransferTopic,
    down_filters,
)
from doorstep_shared.transfer import (
    Announce,
    Finished,
    GaveUp,
    Init,
    SendAbort,
    Sender,
    SenderAction,
    SendFin,
    SendInit,
    SendSegment,
    decode_reply,
    encode_init,
)
from doorstep_shared.wire import (
    Ack,
    Alert,
    Announcement,
    CameraState,
    Envelopes,
    Event,
    Health,
    decode_body,
)
from doorstep_simulator.broker import BrokerFiles
from tests.people import NOW_MS, Doorbell
from tests.services import Mosquitto

WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Clip:
    """A sealed clip as its doorbell holds it."""

    manifest: Manifest
    signed: Signed
    boxes: dict[ObjectName, Sealed]

    @property
    def id(self) -> ClipId:
        return self.manifest.clip

    @property
    def announcement(self) -> Announcement:
        envelopes = {name.value: box.envelope for name, box in self.boxes.items()}
        return Announcement(manifest=self.signed, envelopes=Envelopes.model_validate(envelopes))


def make_clip(
    bell: Doorbell,
    household: HouseholdId,
    recipient: Recipient,
    *,
    seed: int = 0,
    sizes: dict[ObjectName, int] | None = None,
    **changes: object,
) -> Clip:
    """Return a clip of random bytes, sealed and signed; ``changes`` go into the manifest."""
    source = random.Random(f"{bell.device.id}/{seed}")
    lengths = sizes or {
        ObjectName.FILE: 400_000,
        ObjectName.THUMB: 20_000,
        ObjectName.DETAILS: 500,
    }
    boxes = {
        name: seal_bytes(source.randbytes(length), recipient, source.randbytes)
        for name, length in lengths.items()
    }
    facts: dict[str, ObjectFacts | None] = {name.value: None for name in ObjectName}
    facts.update({name.value: facts_of(box) for name, box in boxes.items()})
    values: dict[str, object] = {
        "household": household,
        "device": bell.device.id,
        "clip": draw_clip_id(NOW_MS + seed, source.randbytes),
        "seq": 1,
        "prev": None,
        "epoch": 1,
        "recipient": str(recipient),
        "kind": ClipKind.RING,
        "events": (draw_event_id(NOW_MS + seed, source.randbytes),),
        "pre_roll_ms": 6000,
        "start": NOW_MS + seed,
        "end": NOW_MS + seed + 20_000,
        "clock_synced": True,
        **facts,
        **changes,
    }
    manifest = Manifest.model_validate(values)
    return Clip(manifest, sign_manifest(manifest, bell.sign), boxes)


def facts_of(box: Sealed) -> ObjectFacts:
    """Return what a manifest says of a box."""
    return ObjectFacts(
        envelope=EnvelopeFacts(
            length=len(box.envelope), sha256=hashlib.sha256(box.envelope).digest()
        ),
        payload=PayloadFacts(length=len(box.payload), sha256=hashlib.sha256(box.payload).digest()),
    )


def make_event(at_ms: int, seed: int = 0) -> Event:
    """Return an event that a doorbell with a set clock saw at ``at_ms``."""
    source = random.Random(f"event/{seed}/{at_ms}")
    return Event(
        event=draw_event_id(at_ms, source.randbytes), at=at_ms, clock_synced=True, alert=Alert.NOW
    )


def make_health(at_ms: int, boot: str, camera: CameraState = CameraState.WATCHING) -> Health:
    """Return a report of how a doorbell is; each of its figures is another."""
    return Health(
        boot=boot,
        at=at_ms,
        clock_synced=True,
        uptime_s=7,
        camera=camera,
        waiting_events=1,
        waiting_clips=2,
        waiting_bytes=3,
        dropped_clips=4,
        dropped_events=6,
        disk_free_bytes=5,
    )


@dataclass(frozen=True, slots=True)
class LineChanged:
    """The bulk connection came up or went down."""

    is_up: bool


class Line:
    """One connection of a doorbell to the broker."""

    def __init__(
        self,
        broker: Mosquitto,
        files: BrokerFiles,
        filters: Iterable[str],
        heard: Callable[[str, bytes], None],
        changed: Callable[[LineChanged], None],
    ) -> None:
        self.is_up = threading.Event()
        self.refusals = 0
        self._filters = [(name, SubscribeOptions(qos=1)) for name in filters]
        self._changed = changed
        self.client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(files.ca))
        context.load_cert_chain(files.certificate, files.key)
        self.client.tls_set_context(context)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_socket_open = _send_at_once
        self.client.on_connect = lambda *_: self._subscribe()
        self.client.on_subscribe = lambda _, __, ___, codes, ____: self._answered(codes)
        self.client.on_disconnect = lambda *_: self._down()

        def take(_: Client, __: object, message: MQTTMessage) -> None:
            heard(message.topic, bytes(message.payload))

        self.client.on_message = take
        self.client.connect_async("127.0.0.1", broker.port, keepalive=10, clean_start=True)
        self.client.loop_start()

    def publish(self, topic: str, body: bytes) -> None:
        self.client.publish(topic, body, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _subscribe(self) -> None:
        if self._filters:
            self.client.subscribe(self._filters)
        else:
            self._up()

    def _answered(self, codes: Iterable[ReasonCode]) -> None:
        """Go on, once the broker knows this doorbell; ask again until then."""
        if any(code.is_failure for code in codes):
            self.refusals += 1
            self._subscribe()
        else:
            self._up()

    def _up(self) -> None:
        self.is_up.set()
        self._changed(LineChanged(is_up=True))

    def _down(self) -> None:
        self.is_up.clear()
        self._changed(LineChanged(is_up=False))


@dataclass(frozen=True, slots=True)
class Heard:
    """A message from the service."""

    topic: str
    body: bytes


Mangle = Callable[[list[SendSegment]], list[SendSegment]]


class ScriptedDoorbell:
    """Two connections and a mailbox; every method waits until it is done, or fails."""

    def __init__(self, bell: Doorbell, broker: Mosquitto, receipt_key: VerifyKey) -> None:
        self.bell = bell
        self._receipt_key = receipt_key
        self._acks: queue.Queue[Ack] = queue.Queue()
        self._bulk_news: queue.Queue[Heard | LineChanged] = queue.Queue()
        self.other: queue.Queue[Heard] = queue.Queue()
        files = broker.certificates.device(bell.device.id)
        ack = str(DeviceTopic(self.id, Leaf.ACK))
        control = [name for name in down_filters(self.id) if not name.endswith("/fr")]
        bulk = [name for name in down_filters(self.id) if name.endswith("/fr")]

        def heard(topic: str, body: bytes) -> None:
            if topic == ack:
                self._acks.put(decode_body(Ack, body))
            else:
                self.other.put(Heard(topic, body))

        self.control = Line(broker, files, control, heard, lambda _: None)
        self.bulk = Line(
            broker,
            files,
            bulk,
            lambda topic, body: self._bulk_news.put(Heard(topic, body)),
            self._bulk_news.put,
        )
        self.received: list[Ack] = []

    def __enter__(self) -> Self:
        assert self.control.is_up.wait(WAIT_S)
        assert self.bulk.is_up.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        self.bulk.close()

    @property
    def id(self) -> DeviceId:
        return self.bell.device.id

    def say(self, leaf: Leaf, body: bytes) -> None:
        """Publish a control message once."""
        self.control.publish(str(DeviceTopic(self.id, leaf)), body)

    def ring(self, event: Event, leaf: Leaf = Leaf.RING) -> None:
        """Publish an event until it is acknowledged."""
        self._until(lambda: self.say(leaf, event.encode()), lambda: event.event in self.events)

    def announce(self, clip: Clip) -> None:
        """Publish a clip's announcement until it is acknowledged."""
        body = clip.announcement.encode()
        self._until(lambda: self.say(Leaf.CLIP, body), lambda: clip.id in self.announced)

    def deliver(self, clip: Clip, *, mangle: Mangle = list, timeout_s: float = WAIT_S) -> None:
        """Bring every object of an announced clip, until each has a receipt."""
        for name, box in clip.boxes.items():
            self.send(clip, name, box.payload, mangle=mangle, timeout_s=timeout_s)
            self._until(lambda: None, lambda name=name: self.has_receipt(clip, name))  # type: ignore[misc]

    def send(
        self,
        clip: Clip,
        name: ObjectName,
        payload: bytes,
        *,
        mangle: Mangle = list,
        timeout_s: float = WAIT_S,
        stop_after: int | None = None,
    ) -> GaveUp | Finished | None:
        """Drive one transfer to its end; None if it was left after ``stop_after`` segments."""
        sender = Sender(clip.manifest.objects[name].payload)
        deadline = time.monotonic() + timeout_s
        sent = 0
        actions: Iterable[SenderAction] = (
            sender.connected(_now_us()) if self.bulk.is_up.is_set() else ()
        )
        while True:
            segments = [action for action in actions if isinstance(action, SendSegment)]
            for action in actions:
                if isinstance(action, Finished | GaveUp):
                    return action
                if not isinstance(action, SendSegment):
                    self._carry_out(clip, name, action)
            for segment in mangle(segments):
                data = payload[segment.offset : segment.offset + segment.length]
                topic = SegmentTopic(self.id, clip.id, name, segment.offset)
                self.bulk.publish(str(topic), data)
                sent += 1
            if stop_after is not None and sent >= stop_after:
                return None
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} was not stored within {timeout_s} s: {sender.state}")
            actions = self._next(sender, clip, name)

    def _next(self, sender: Sender, clip: Clip, name: ObjectName) -> Iterable[SenderAction]:
        try:
            news = self._bulk_news.get(timeout=0.05)
        except queue.Empty:
            return sender.tick(_now_us())
        if isinstance(news, LineChanged):
            return sender.connected(_now_us()) if news.is_up else sender.disconnected()
        reply = decode_reply(news.body)
        if (reply.clip, reply.object) != (clip.id, name):
            return ()
        return sender.replied(reply, _now_us())

    def _carry_out(self, clip: Clip, name: ObjectName, action: SenderAction) -> None:
        match action:
            case SendInit(chunk):
                self._command(clip, name, Command.INIT, encode_init(Init(chunk)))
            case SendFin():
                self._command(clip, name, Command.FIN)
            case SendAbort():
                self._command(clip, name, Command.ABORT)
            case Announce():
                self.say(Leaf.CLIP, clip.announcement.encode())
            case _:
                raise AssertionError(action)

    def _command(self, clip: Clip, name: ObjectName, command: Command, body: bytes = b"") -> None:
        self.bulk.publish(str(TransferTopic(self.id, clip.id, name, command)), body)

    @property
    def events(self) -> set[EventId]:
        """Return every event acknowledged so far."""
        self.gather()
        return {event for ack in self.received for event in ack.events}

    def times_acknowledged(self, event: EventId) -> int:
        self.gather()
        return sum(event in ack.events for ack in self.received)

    @property
    def announced(self) -> set[ClipId]:
        self.gather()
        return {clip for ack in self.received for clip in ack.announced}

    @property
    def refused(self) -> dict[ClipId, str]:
        self.gather()
        return {refused.clip: refused.reason for ack in self.received for refused in ack.refused}

    @property
    def receipts(self) -> list[Receipt]:
        """Return every receipt so far, each verified."""
        self.gather()
        return [
            verify_receipt(signed, self._receipt_key)
            for ack in self.received
            for signed in ack.receipts
        ]

    def has_receipt(self, clip: Clip, name: ObjectName) -> bool:
        facts = clip.manifest.objects[name].payload
        wanted = Receipt(
            device=self.id, clip=clip.id, object=name, size=facts.length, sha256=facts.sha256
        )
        return wanted in self.receipts

    def gather(self) -> None:
        """Take what came on ``ack`` meanwhile."""
        while True:
            try:
                self.received.append(self._acks.get_nowait())
            except queue.Empty:
                return

    def _until(self, repeat: Callable[[], None], is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_done():
            if time.monotonic() > deadline:
                raise AssertionError("the service did not acknowledge")
            repeat()
            patience = time.monotonic() + 2.0
            while not is_done() and time.monotonic() < patience:
                time.sleep(0.002)


def resigned(clip: Clip, bell: Doorbell, **changes: object) -> Clip:
    """Return ``clip`` under another manifest, signed by ``bell``."""
    manifest = clip.manifest.model_copy(update=changes)
    return replace(clip, manifest=manifest, signed=sign_manifest(manifest, bell.sign))


def _send_at_once(_: Client, __: object, sock: object) -> None:
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _now_us() -> int:
    return time.monotonic_ns() // 1000
