"""One connection to the broker, by paho: TLS, MQTT v5, kept up.

paho runs the connection on a thread of its own and tries again for ever; what
happens is handed to the event loop in order. A connection counts as made only
when our topics are subscribed, so that no answer is missed.

Whoever is behind the broker's address can make us lose a connection and what it
carried, and no more: the next one is always sought. What one connection left
unsent is not sent on the next: the outbox is asked again (paho would resend it
ahead of everything newer).
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from doorstep_device.adapters.handover import Handover
from doorstep_device.identity import DamagedIdentityError
from doorstep_device.ports.broker import (
    BrokerUnreachableError,
    Connected,
    Disconnected,
    Happening,
    Message,
)
from doorstep_shared.wire import MAX_JSON_BYTES

KEEPALIVE_S: Final = 20
SESSION_EXPIRY_S: Final = 30
WILL_DELAY_S: Final = 15
FIRST_RETRY_S: Final = 1
LONGEST_RETRY_S: Final = 30
# Nothing longer is read further in. It is room for a topic and its properties too.
MAX_PACKET_BYTES: Final = MAX_JSON_BYTES + 2048
# Messages the broker sends before it waits for a PUBACK.
RECEIVE_MAXIMUM: Final = 64
# Several windows of replies. Beyond it whoever sends is faster than we read.
MAX_WAITING: Final = 256

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME: Python names no such flag. The dates are
# checked here, against a floor that a clock never set cannot undercut.
_NO_CHECK_TIME: Final = 0x200000


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, and how each knows the other.

    Attributes:
        ca: PEM file of the service's CA.
        certificate: PEM file of this doorbell's certificate.
        key: PEM file of its key.
        floor: No time before this can be now: the build's date or the
            certificate's, whichever is later.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    floor: datetime


class PahoBroker:
    """A `doorstep_device.ports.broker.Broker`.

    Args:
        address: Where to connect.
        client_id: Unguessable: whoever connects with it throws us off.
        filters: Topics to subscribe.
        will: Returns the last will for the connection of that count; None for
            no will.
        loop: Where `happenings` is read.

    Raises:
        DamagedIdentityError: The files of the address cannot be used.
    """

    def __init__(
        self,
        address: BrokerAddress,
        *,
        client_id: str,
        filters: tuple[str, ...],
        loop: asyncio.AbstractEventLoop,
        will: Callable[[int], Message] | None = None,
    ) -> None:
        self._address = address
        self._filters = filters
        self._will = will
        self._count = 0
        self._told_count = 0
        self._refusals = 0
        self._started = False
        self._handover: Handover[Happening] = Handover(loop, MAX_WAITING)
        self._client = self._make_client(client_id)

    def start(self) -> None:
        """Begin to seek the connection; harmless when repeated."""
        if self._started:
            return
        self._started = True
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        properties.MaximumPacketSize = MAX_PACKET_BYTES
        self._client.connect_async(
            self._address.host,
            self._address.port,
            keepalive=KEEPALIVE_S,
            clean_start=mqtt.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
        )
        self._client.loop_start()

    def happenings(self) -> AsyncIterator[Happening]:
        """Yield what happens, in order, to one task, until `close`."""
        return self._handover

    def publish(self, topic: str, body: bytes) -> None:
        """Hand a message to the connection.

        Raises:
            BrokerUnreachableError: There is no connection now.
        """
        if not self._client.is_connected():
            raise BrokerUnreachableError("there is no connection to the broker")
        self._client.publish(topic, body, qos=1)

    async def close(self) -> None:
        """Say goodbye to the broker and end `happenings`."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    def _close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._handover.end()

    def _make_client(self, client_id: str) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        client.tls_set_context(_tls_context(self._address))
        self._set_patience(client)
        client.max_inflight_messages_set(32)
        client.on_pre_connect = self._before_connecting
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = _send_at_once
        return client

    def _set_patience(self, client: mqtt.Client) -> None:
        """Wait twice as long after each refusal; paho by itself forgets at every connection."""
        first_s = min(FIRST_RETRY_S * 2 ** min(self._refusals, 5), LONGEST_RETRY_S)
        client.reconnect_delay_set(first_s, LONGEST_RETRY_S)

    def _before_connecting(self, client: mqtt.Client, _userdata: object) -> None:
        """Give the connection to come its own will: an older one is then told apart."""
        client.drop_out_messages()
        self._count += 1
        if self._will is None:
            return
        will = self._will(self._count)
        properties = _properties(PacketTypes.WILLMESSAGE)
        properties.WillDelayInterval = WILL_DELAY_S
        client.will_set(will.topic, will.body, qos=1, properties=properties)

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        if reason.is_failure:
            self._handover.put(Disconnected(f"the broker refused: {reason}"))
            return
        client.subscribe([(text, SubscribeOptions(qos=1)) for text in self._filters])

    def _on_subscribe(
        self,
        client: mqtt.Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: object,
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            # So it is in the first moment after enrolment; and for good once it is revoked.
            self._refusals += 1
            self._set_patience(client)
            self._drop_connection(client, "the broker does not know this doorbell yet, or no more")
            return
        self._refusals = 0
        self._set_patience(client)
        # Said twice, it would have everything sent twice.
        if self._told_count != self._count:
            self._told_count = self._count
            self._handover.put(Connected(self._count))

    def _on_connect_fail(self, _client: mqtt.Client, _userdata: object) -> None:
        self._handover.put(Disconnected("the broker cannot be reached"))

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _userdata: object,
        _flags: object,
        reason: ReasonCode,
        _properties: object,
    ) -> None:
        self._handover.put(Disconnected(str(reason)))

    def _on_message(
        self, client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # it is none of ours, and paho's thread would die of it
        if not self._handover.offer(Message(topic, bytes(message.payload))):
            self._drop_connection(client, "the broker sent more than could be read")

    def _drop_connection(self, client: mqtt.Client, why: str) -> None:
        """Lose this connection and all it brought; paho makes the next one in a second."""
        self._handover.start_afresh(Disconnected(why))
        if isinstance(sock := client.socket(), socket.socket):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _WarySocket(ssl.SSLSocket):
    """Checks the broker's dates against the context's floor, and the size of its packets."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # ssl's own signature
        try:
            super().do_handshake(block)
            floor = getattr(self.context, "floor", datetime.min.replace(tzinfo=UTC))
            check_dates(self.getpeercert() or {}, max(floor, datetime.now(UTC)))
        except OSError:
            self.close()  # paho leaves that to the garbage collector
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        # paho asks for what a packet still lacks: up to 256 MiB, whatever we allowed.
        if buflen > MAX_PACKET_BYTES:
            raise ConnectionAbortedError("the broker began a packet that is too long")
        return super().recv(buflen, flags)


class _FlooredContext(ssl.SSLContext):
    """A TLS context with a time before which it cannot be now."""

    sslsocket_class = _WarySocket
    floor: datetime


def check_dates(certificate: Mapping[str, Any], now: datetime) -> None:
    """Return if ``certificate``, as `ssl` describes it, is valid at ``now``.

    Raises:
        ssl.SSLCertVerificationError: Not yet, or no longer.
    """
    at = now.timestamp()
    if at < ssl.cert_time_to_seconds(certificate["notBefore"]):
        raise ssl.SSLCertVerificationError("the broker's certificate is not yet valid")
    if at > ssl.cert_time_to_seconds(certificate["notAfter"]):
        raise ssl.SSLCertVerificationError("the broker's certificate has expired")


def _tls_context(address: BrokerAddress) -> ssl.SSLContext:
    context = _FlooredContext(ssl.PROTOCOL_TLS_CLIENT)
    context.floor = address.floor
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(address.ca)
        context.load_cert_chain(address.certificate, address.key)
    except OSError as error:  # SSLError is one
        raise DamagedIdentityError("certificates") from error
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    return context


def _send_at_once(_client: mqtt.Client, _userdata: object, sock: Any) -> None:  # noqa: ANN401  # paho's own protocol type is private
    # A small answer behind a segment must not wait for a delayed TCP ack.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _properties(kind: int) -> Any:  # noqa: ANN401  # paho sets its fields by name
    return Properties(kind)  # type: ignore[no-untyped-call]  # paho leaves it untyped
