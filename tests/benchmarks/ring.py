"""From the finger to the acknowledgement, and to who listens at home.

The button is gpiozero's mock pin, everything behind it is real: the press rule, the outbox
with its sync, MQTT over TLS, ingest, the commit, the ack; and the owner's client on the
event stream. The floor is what the broker alone takes: paho to paho over TLS, QoS 1.
"""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from doorstep_cloud.app.credentials import read_credentials
from doorstep_cloud.devices.authority import to_pem
from doorstep_cloud.ingest.access import CONTROL, admissions, in_messages
from doorstep_shared.topics import DeviceTopic, Leaf
from doorstep_simulator.owner import Listener
from tests.benchmarks.bell import CLOCK_RATE, WAIT_S, Bell
from tests.benchmarks.figures import Figure
from tests.benchmarks.lab import Bench, Lab
from tests.benchmarks.table import Better, Row
from tests.people import doorbell

PRESSES = 50
WARM_UP = 3
# Two seconds of the doorbell's clock make another visit; a little more is safe.
VISIT_S = 2.4 / CLOCK_RATE
BODY = b"x" * 200  # a ring's size
P99 = 0.99


class Floor:
    """Two paho clients and the stack's broker; no service, no doorbell.

    The broker lets the service's own certificate write a doorbell's `ack` and
    `statements`, so these carry the messages, for a doorbell that it lets in itself.
    """

    def __init__(self, lab: Lab) -> None:
        cloud, folder = lab.stack.cloud_folder, lab.folder
        device = self._device = doorbell("nobody").device.id
        secret = ec.generate_private_key(ec.SECP256R1())
        authority = read_credentials(cloud).authority
        issued = authority.issue_device(secret.public_key(), device, datetime.now(tz=UTC))
        certificate, key = folder / "nobody.pem", folder / "nobody.key"
        certificate.write_text(to_pem(issued))
        key.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self._there = str(DeviceTopic(device, Leaf.ACK))
        self._back = str(DeviceTopic(device, Leaf.STATEMENTS))
        self._arrived: dict[str, float] = {}
        self._is_over = threading.Event()
        ca, port = cloud / "ca" / "ca.pem", lab.stack.ports.broker
        ingest = cloud / "ingest"
        self._running = ExitStack()
        self._sender = self._connect(ca, ingest / "client.pem", ingest / "client.key", port)
        self._reader = self._connect(ca, certificate, key, port)

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._reader.on_subscribe = lambda *_: ready.set()
        self._reader.on_message = self._take
        (admitted,) = in_messages(admissions([self._device]))
        self._sender.publish(CONTROL, admitted, qos=1).wait_for_publish(WAIT_S)
        self._reader.subscribe([(self._there, 1), (self._back, 1)])
        if not ready.wait(WAIT_S):
            raise TimeoutError("the broker did not take a subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def exchange(self) -> tuple[float, float]:
        """Return the milliseconds of one way through the broker, and of two."""
        self._arrived.clear()
        self._is_over.clear()
        started_s = time.monotonic()
        self._sender.publish(self._there, BODY, qos=1)
        if not self._is_over.wait(WAIT_S):
            raise TimeoutError("the broker lost a message")
        there, back = self._arrived[self._there], self._arrived[self._back]
        return (there - started_s) * 1000, (back - started_s) * 1000

    def _take(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        self._arrived[message.topic] = time.monotonic()
        if message.topic == self._there:
            self._sender.publish(self._back, BODY, qos=1)
        else:
            self._is_over.set()

    def _connect(self, ca: Path, certificate: Path, key: Path, port: int) -> Client:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        context = ssl.create_default_context(cafile=str(ca))
        context.load_cert_chain(certificate, key)
        client.tls_set_context(context)
        is_up = threading.Event()
        client.on_connect = lambda *_: is_up.set()
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._running.callback(client.loop_stop)
        self._running.callback(client.disconnect)
        if not is_up.wait(WAIT_S):
            raise TimeoutError("the broker refused a client")
        return client


def _ring_once(bell: Bell, listener: Listener) -> tuple[float, float]:
    """Return the milliseconds from the press to the ack, and to the listener."""
    known = len(bell.facts.all("ring_pressed"))
    pressed_s = bell.press()
    _wait_until(lambda: len(bell.facts.all("ring_pressed")) > known)
    event = bell.facts.all("ring_pressed")[-1].text("event_id")
    acked_s = bell.wait_for("event_acked", event_id=event).arrived_s
    if not listener.wait_for([event], WAIT_S):
        raise TimeoutError("a ring never reached the listener")
    heard_s = next(one.heard_s for one in listener.heard if one.event.id == event)
    # Otherwise the next press would belong to this visit.
    time.sleep(max(0.0, pressed_s + VISIT_S - time.monotonic()))
    return (acked_s - pressed_s) * 1000, (heard_s - pressed_s) * 1000


def _wait_until(is_so: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > give_up_s:
            raise TimeoutError("a ring got lost")
        time.sleep(0.001)


def _measure(lab: Lab) -> Iterator[Row]:
    rings, floors = [], []
    card = lab.make_card("ringing")
    listener = Listener(lab.owner, lambda _heard: None)
    try:
        if not listener.wait_until_open():
            raise TimeoutError("the service did not let the owner listen")
        with Bell(card) as bell, Floor(lab) as floor:
            for _ in range(WARM_UP + PRESSES):
                rings.append(_ring_once(bell, listener))
                floors.append(floor.exchange())
    finally:
        listener.end()
    acked, heard = zip(*rings[WARM_UP:], strict=True)
    one_way, two_ways = zip(*floors[WARM_UP:], strict=True)
    yield from _rows("ack", "ring, press to acknowledged", acked, "paho, two ways", two_ways)
    yield from _rows("listener", "ring, press to listener", heard, "paho, one way", one_way)


def _rows(
    name: str, what: str, ours: tuple[float, ...], peer: str, theirs: tuple[float, ...]
) -> Iterator[Row]:
    for part, text, share in (("", "median", 0.5), ("-p99", "p99", P99)):
        beside = Figure(theirs, share)
        title = f"{what}, {text}"
        figure = Figure(ours, share)
        yield Row(f"ring-{name}{part}", title, "ms", Better.LESS, figure, peer, beside)


NAMES = ("ring-ack", "ring-ack-p99", "ring-listener", "ring-listener-p99")
BENCHES = (Bench(NAMES, _measure),)
