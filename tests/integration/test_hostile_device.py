"""An enrolled doorbell that means harm reaches its own topics and nobody else's."""

import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import psutil
import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from doorstep_device.identity import CA_PATH, CERTIFICATE_PATH, TLS_KEY_PATH
from doorstep_shared.ids import DeviceId, EventId, draw_clip_id, draw_event_id
from doorstep_shared.manifest import ObjectName
from doorstep_shared.topics import (
    INGEST_CONTROL_FILTERS,
    Command,
    DeviceTopic,
    Leaf,
    SegmentTopic,
    TransferTopic,
    device_root,
    down_filters,
)
from doorstep_shared.wire import Ack, Alert, Event, Status
from doorstep_simulator.broker import RESTART_ABOVE_BYTES
from doorstep_simulator.doorbell import Doorbell
from doorstep_simulator.stack import Stack
from tests.running import Home, ring, wait_for, wait_for_fact

# Well below what has the broker started anew: it stays up.
MOST_BYTES = RESTART_ABOVE_BYTES * 2 // 3


class Intruder:
    """An enrolled doorbell's certificate in the wrong hands: one connection, any topic.

    Attributes:
        heard: Topics of what arrived.
    """

    def __init__(self, card: Path, port: int, client_id: str) -> None:
        self.heard: list[str] = []
        self.subscribed = 0
        self.published = 0
        self._is_up = threading.Event()
        self.client = Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5
        )
        context = ssl.create_default_context(cafile=str(card / CA_PATH))
        context.load_cert_chain(card / CERTIFICATE_PATH, card / TLS_KEY_PATH)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda *_: self._is_up.set()
        self.client.on_subscribe = lambda *_: self._count("subscribed")
        self.client.on_publish = lambda *_: self._count("published")

        def take(_: Client, __: object, message: MQTTMessage) -> None:
            self.heard.append(message.topic)

        self.client.on_message = take
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's own
        properties.SessionExpiryInterval = 0xFFFF_FFFE
        self.client.connect("127.0.0.1", port, keepalive=60, properties=properties)

    def __enter__(self) -> Self:
        self.client.loop_start()
        assert self._is_up.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic: str, body: bytes = b"{}") -> None:
        """Publish, and wait until the broker has taken it, or thrown it away."""
        self.client.publish(topic, body, qos=1).wait_for_publish(20)

    def subscribe(self, *filters: str) -> None:
        """Subscribe, and wait for the broker's word; it may grant what it will not deliver."""
        before = self.subscribed
        self.client.subscribe([(name, SubscribeOptions(qos=1)) for name in filters])
        wait_for(lambda: self.subscribed > before, "the word of the broker")

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)


@pytest.fixture(scope="module")
def bell(home: Home) -> Iterator[Doorbell]:
    """The first doorbell, which wants to be left alone."""
    with home.doorbell() as running:
        yield running


@pytest.fixture
def other(stack: Stack, tmp_path: Path) -> Home:
    """A household of its own, with a doorbell of its own, at the same service."""
    return Home.found(stack, tmp_path)


@pytest.fixture
def intruder(other: Home, home: Home) -> Iterator[Intruder]:
    """The other household's doorbell, under a name made like the first one's."""
    port = other.stack.ports.broker
    with Intruder(other.card, port, f"{home.device}.c.{secrets.token_hex(16)}") as connected:
        yield connected


def ring_is_acked(bell: Doorbell) -> bool:
    """Press the button; return whether the service said that it has the ring."""
    event = ring(bell)
    return wait_for_fact(bell, "event_acked", event_id=event).text("event_id") == event


def breaks(bell: Doorbell) -> int:
    """Return how often one of its lines broke."""
    return len(bell.facts.all("broker_lost"))


def made_up_ring() -> Event:
    at_ms = time.time_ns() // 1_000_000
    event = draw_event_id(at_ms, secrets.token_bytes)
    return Event(event=event, at=at_ms, clock_synced=True, alert=Alert.NOW)


def has_event(home: Home, event: EventId) -> bool:
    return any(one.id == event for one in home.owner.events(limit=1000))


def test_a_name_like_the_first_ones_does_not_throw_it_off(
    home: Home, other: Home, bell: Doorbell
) -> None:
    before = breaks(bell)
    for kind in ("", ".c", ".b", f".c.{secrets.token_hex(16)}", f".b.{secrets.token_hex(16)}"):
        with Intruder(other.card, home.stack.ports.broker, f"{home.device}{kind}"):
            pass
    assert ring_is_acked(bell)
    assert breaks(bell) == before


def test_what_is_the_first_ones_is_neither_heard_nor_said(
    home: Home, other: Home, bell: Doorbell, intruder: Intruder
) -> None:
    first = DeviceId(home.device)
    intruder.subscribe(*down_filters(first), f"{device_root(first)}/#", "doorstep/v1/+/+/ack")
    intruder.subscribe(*down_filters(DeviceId(other.device)))
    intruder.subscribe("#", "doorstep/#", *INGEST_CONTROL_FILTERS, "doorstep/v1/+/+/f/#", "$SYS/#")
    forged = made_up_ring()
    for leaf in Leaf:
        intruder.publish(str(DeviceTopic(first, leaf)), forged.encode())
    status = Status(boot="0" * 32, connections=2**50, online=False)
    intruder.publish(str(DeviceTopic(first, Leaf.STATUS)), status.encode())
    event = ring(bell)
    waiting = Ack(events=(EventId(event),))
    intruder.publish(str(DeviceTopic(first, Leaf.ACK)), waiting.encode())
    clip = home.wait_until_stored(event)
    for name in ObjectName:
        topic = TransferTopic(first, clip.id, name, Command.ABORT)
        intruder.publish(str(topic), b"")
    # A ring of its own comes back to it: so the first one's would have, too.
    own = made_up_ring()
    intruder.publish(str(DeviceTopic(DeviceId(other.device), Leaf.RING)), own.encode())
    own_ack = str(DeviceTopic(DeviceId(other.device), Leaf.ACK))
    wait_for(lambda: own_ack in intruder.heard, "the ack of its own ring")
    assert set(intruder.heard) <= {
        own_ack,
        str(DeviceTopic(DeviceId(other.device), Leaf.STATEMENTS)),
    }
    assert not has_event(home, forged.event)
    assert not has_event(home, own.event)
    assert has_event(other, own.event)
    assert home.owner.open_clip(clip.id).video[4:8] == b"ftyp"
    assert not bell.facts.all("message_refused", "message_dropped")


def test_a_foreign_shard_is_not_its_own(home: Home, other: Home, intruder: Intruder) -> None:
    mine = DeviceId(other.device)
    shard = f"{(int(mine[:2], 16) + 1) % 256:02x}"
    forged = [made_up_ring() for _ in range(3)]
    for root, event in zip(
        (f"doorstep/v1/{shard}/{mine}", f"doorstep/v1/{home.device[:2]}/{mine}", "doorstep/v1"),
        forged,
        strict=True,
    ):
        intruder.publish(f"{root}/ev/ring", event.encode())
    last = made_up_ring()
    intruder.publish(str(DeviceTopic(mine, Leaf.RING)), last.encode())
    wait_for(lambda: has_event(other, last.event), "the last ring")
    told = {event.id for event in other.owner.events(limit=1000)}
    told |= {event.id for event in home.owner.events(limit=1000)}
    assert told.isdisjoint(event.event for event in forged)


def test_it_cannot_answer_itself_on_its_down_topics(other: Home, intruder: Intruder) -> None:
    mine = DeviceId(other.device)
    intruder.subscribe(*down_filters(mine))
    for leaf in (Leaf.ACK, Leaf.STATEMENTS, Leaf.FILE_REPLY):
        intruder.publish(str(DeviceTopic(mine, leaf)), b'{"v":1}')
    own = made_up_ring()
    intruder.publish(str(DeviceTopic(mine, Leaf.RING)), own.encode())
    ack = str(DeviceTopic(mine, Leaf.ACK))
    wait_for(lambda: ack in intruder.heard, "the ack of its own ring")
    assert intruder.heard.count(ack) == 1
    assert str(DeviceTopic(mine, Leaf.FILE_REPLY)) not in intruder.heard


def test_a_hundred_thousand_topics_hold_up_nobody(
    home: Home, bell: Doorbell, intruder: Intruder
) -> None:
    before = breaks(bell)
    topics = (f"doorstep/v1/{number:x}/{home.device}/ev/ring" for number in range(100_000))
    with Memory(home.stack) as memory:
        flood = Flood(intruder, topics)
        while not flood.is_over:
            assert ring_is_acked(bell)
        assert flood.sent == 100_000
    memory.assert_bounded()
    assert breaks(bell) == before
    home.wait_until_stored(ring(bell))


def test_twenty_thousand_subscriptions_of_a_hundred_levels_hold_up_nobody(
    home: Home, bell: Doorbell, intruder: Intruder
) -> None:
    before, broker = breaks(bell), home.stack.broker.pid
    levels = "/".join("abcdefghij" * 10)
    with Memory(home.stack) as memory:
        for number in range(20_000):
            intruder.client.subscribe(f"{number}/{levels}")
            if number % 2_000 == 0:
                assert ring_is_acked(bell)
        # All are refused, and none is kept.
        wait_for(lambda: intruder.subscribed == 20_000, "the broker's word on each")
        assert ring_is_acked(bell)
    memory.assert_bounded()
    assert (breaks(bell), home.stack.broker.pid) == (before, broker)
    home.wait_until_stored(ring(bell))


@pytest.mark.parametrize("what", ["rings", "segments"])
def test_a_flood_on_its_own_topics_puts_it_out(
    what: str, home: Home, other: Home, bell: Doorbell
) -> None:
    before, broker = breaks(bell), home.stack.broker.pid
    mine, clip = DeviceId(other.device), draw_clip_id(0, secrets.token_bytes)
    topic, body = {
        "rings": (str(DeviceTopic(mine, Leaf.RING)), made_up_ring().encode()),
        "segments": (str(SegmentTopic(mine, clip, ObjectName.FILE, 0)), bytes(100_000)),
    }[what]
    with Memory(home.stack) as memory, Intruder(other.card, home.stack.ports.broker, "") as flood:
        deadline = time.monotonic() + 30
        while flood.client.is_connected():
            assert time.monotonic() < deadline, "it may go on for ever"
            flood.client.publish(topic, body, qos=0)
        assert ring_is_acked(bell)
    memory.assert_bounded()
    assert (breaks(bell), home.stack.broker.pid) == (before, broker)
    home.wait_until_stored(ring(bell))


class Flood:
    """Publishes to every topic, as fast as the line takes it, in a thread of its own."""

    def __init__(self, intruder: Intruder, topics: Iterator[str]) -> None:
        self.sent = 0
        self._intruder = intruder
        self._topics = topics
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        for topic in self._topics:
            self._intruder.client.publish(topic, b"x" * 100, qos=0)
            self.sent += 1
        self._intruder.publish("the/last/one")


class Memory:
    """Watches what the broker takes, over its restarts."""

    def __init__(self, stack: Stack) -> None:
        self.most_bytes = 0
        self._stack = stack
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def assert_bounded(self) -> None:
        """It never took more than it may."""
        assert 0 < self.most_bytes < MOST_BYTES

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            with suppress(psutil.NoSuchProcess):
                used = psutil.Process(self._stack.broker.pid).memory_info().rss
                self.most_bytes = max(self.most_bytes, used)
