"""One connection to the broker: subscribed while it stands, made again when it falls.

Messages are handed over on the connection's own thread. Nothing outlives a
connection at the broker, and nothing needs to: doorbells repeat whatever was
not acknowledged.

It speaks MQTT 3.1.1, whose messages carry no properties: those that a doorbell
may add in version 5 end at the broker. Reading them here cost everybody the
connection, or a second of it for each packet (ADR 0028).
"""

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from doorstep_cloud.ingest.counters import Count, IngestCounters
from doorstep_cloud.ingest.trouble import Trouble, describe

log = structlog.get_logger(__name__)

KEEPALIVE_S: Final = 20
MAX_UNDERWAY: Final = 256
"""Answers sent that the broker has not confirmed. The other way its own limit holds."""

MAX_UNSENT: Final = 4096
"""Answers that wait while the broker is slow; further ones are dropped and asked for again."""

RECONNECT_MIN_S: Final = 1
RECONNECT_MAX_S: Final = 5

Handler = Callable[[str, bytes], None]
"""Takes a topic and a body; called on the connection's thread."""

Publish = Callable[[str, bytes], None]
"""Sends a body to a topic; any thread may call it."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, and how to know one another.

    Attributes:
        ca: PEM file that the broker's certificate hangs from.
        certificate: Our own, PEM; its common name is what the broker's access list knows.
        key: Its private key, PEM.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path


class Connection:
    """Subscribes to ``filters`` and hands what comes to ``handler``.

    Each time it stands it calls ``on_ready``, on its own thread.
    """

    def __init__(
        self,
        name: str,
        address: BrokerAddress,
        filters: Sequence[str],
        handler: Handler,
        counters: IngestCounters,
        *,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._address = address
        self._filters = filters
        self._handler = handler
        self._on_ready = on_ready
        self._counters = counters
        self._ready = threading.Event()
        self._trouble: Trouble | None = None
        self._is_stopping = False
        self._context = ssl.create_default_context(cafile=str(address.ca))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(address.certificate, address.key)
        self._client = self._make_client()

    @property
    def name(self) -> str:
        """Return which of ingest's connections this is."""
        return self._name

    @property
    def is_connected(self) -> bool:
        """Return whether messages can come: connected and subscribed."""
        return self._ready.is_set()

    @property
    def trouble(self) -> Trouble | None:
        """Return why it is not connected, once that is known; None while it is."""
        return self._trouble

    def start(self) -> None:
        """Connect in the background, again and again until `stop`."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect and end the thread."""
        self._is_stopping = True
        self._client.disconnect()
        self._client.loop_stop()
        self._ready.clear()

    def publish(self, topic: str, body: bytes) -> None:
        """Send ``body`` with QoS 1, from any thread; while there is no connection it is dropped.

        Whoever waits for it asks again.
        """
        if self._ready.is_set():
            self._client.publish(topic, body, qos=1)

    def _make_client(self) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id="",  # The broker draws one: nobody can guess it and throw us off.
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        client.tls_set_context(self._context)
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
        client.max_inflight_messages_set(MAX_UNDERWAY)
        client.max_queued_messages_set(MAX_UNSENT)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: Client, _: object, __: ConnectFlags, code: ReasonCode, ___: Properties | None
    ) -> None:
        if code.is_failure:
            self._trouble = Trouble(
                f"the broker knows ingest's certificate and refuses it: {code}",
                "see the broker's log",
            )
            log.warning("broker_refused_ingest", connection=self._name, code=str(code))
            return
        client.subscribe([(name, 1) for name in self._filters])

    def _on_connect_fail(self, _: Client, __: object) -> None:
        # paho calls this while it handles the error, and says no more of it itself.
        self._note_trouble(sys.exc_info()[1])

    def _on_subscribe(
        self, _: Client, __: object, ___: int, codes: list[ReasonCode], ____: Properties | None
    ) -> None:
        if any(code.is_failure for code in codes):
            log.error("broker_refused_subscription", connection=self._name)
            return
        self._trouble = None
        self._ready.set()
        log.info("ingest_connected", connection=self._name)
        self._on_ready()

    def _on_disconnect(
        self, _: Client, __: object, ___: DisconnectFlags, code: ReasonCode, ____: Properties | None
    ) -> None:
        if self._ready.is_set():
            self._ready.clear()
            log.info("ingest_disconnected", connection=self._name, code=str(code))
        elif not self._is_stopping:
            self._note_trouble(None)

    def _note_trouble(self, error: BaseException | None) -> None:
        """Say why there is no connection; it is tried again by paho, with what the files hold."""
        address = self._address
        found = describe(address.certificate, address.ca, error, datetime.now(tz=UTC))
        self._trouble = found
        log.warning("broker_unreachable", connection=self._name, fact=found.fact, do=found.do)
        # Half-made files are as good as the old ones: there is a next time.
        with suppress(OSError):
            self._context.load_cert_chain(address.certificate, address.key)

    def _on_message(self, _: Client, __: object, message: MQTTMessage) -> None:
        try:
            self._handler(message.topic, bytes(message.payload))
        except Exception:  # The boundary of this thread: one message must not stop the next.
            self._counters.add(Count.CRASHED)
            log.exception("ingest_message_crashed", connection=self._name)


def _send_at_once(_: Client, __: object, sock: object) -> None:
    # Small replies would wait for the broker's delayed ACK: 424 ms instead of 70 for a segment.
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
