"""The connection to the broker, over real TLS, against brokers that do as a test says."""

import asyncio
import secrets
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from doorstep_cloud.devices.authority import Authority, to_pem
from doorstep_device.adapters import broker as broker_module
from doorstep_device.adapters.broker import (
    MAX_PACKET_BYTES,
    MAX_WAITING,
    RECEIVE_MAXIMUM,
    BrokerAddress,
    PahoBroker,
    check_dates,
)
from doorstep_device.ports.broker import (
    BrokerUnreachableError,
    Connected,
    Disconnected,
    Happening,
    Message,
)
from doorstep_shared.ids import draw_device_id

PATIENCE_S: Final = 10.0
NOW: Final = datetime.now(UTC)
CA: Final = Authority.create(NOW - timedelta(days=4000))
OTHER_CA: Final = Authority.create(NOW)
DEVICE: Final = draw_device_id(secrets.token_bytes)
CONNACK: Final = bytes([0x20, 3, 0, 0, 0])
GRANTED_QOS_1: Final = 1
NOT_AUTHORISED: Final = 0x87

Key = ec.EllipticCurvePublicKey
Issue = Callable[[Key], x509.Certificate]


def good(key: Key) -> x509.Certificate:
    return CA.issue_server(key, ["localhost"], NOW)


@dataclass(slots=True)
class Line:
    """One connection, as the broker sees it."""

    number: int
    socket: ssl.SSLSocket
    connect: bytes = b""
    published: list[bytes] = field(default_factory=list)

    def say(self, packet: bytes) -> None:
        with suppress(OSError):
            self.socket.sendall(packet)

    def publish(self, topic: bytes, body: bytes = b"") -> None:
        """Send a message of QoS 0."""
        rest = len(topic).to_bytes(2, "big") + topic + b"\0" + body
        self.say(b"\x30" + length(len(rest)) + rest)

    def suback(self, packet_id: bytes, reason: int) -> None:
        self.say(bytes([0x90, 4, *packet_id, 0, reason]))

    def hang_up(self) -> None:
        with suppress(OSError):
            # The plain one's: the TLS one's would let `_serve` read on beneath TLS.
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


@dataclass(slots=True)
class FakeBroker:
    """Says yes to everything; `on_subscribed` and `on_published` make it what a test needs.

    Attributes:
        refusals: So many connections are first refused their subscriptions.
        lines: Connections that came as far as a CONNECT.
    """

    certificate: Path
    key: Path
    lines: list[Line] = field(default_factory=list)
    on_subscribed: Callable[[Line], None] = lambda _: None
    on_published: Callable[[Line], None] = lambda _: None
    subacks: int = 1
    refusals: int = 0
    listener: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes `_accept`
        self.listener.close()
        for line in self.lines:
            line.hang_up()

    def _accept(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(context, plain), daemon=True).start()

    def _serve(self, context: ssl.SSLContext, plain: socket.socket) -> None:
        # A doorbell that does not like us hangs up amid the handshake.
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as line:
            found = Line(len(self.lines) + 1, line)
            while (packet := read_packet(line)) is not None:
                self._heed(found, *packet)

    def _heed(self, line: Line, kind: int, rest: bytes) -> None:
        match kind >> 4:
            case PacketTypes.CONNECT:
                line.connect = rest
                self.lines.append(line)
                line.say(CONNACK)
            case PacketTypes.SUBSCRIBE:
                for _ in range(self.subacks):
                    is_refused = line.number <= self.refusals
                    line.suback(rest[:2], NOT_AUTHORISED if is_refused else GRANTED_QOS_1)
                self.on_subscribed(line)
            case PacketTypes.PUBLISH:
                line.published.append(rest)
                self.on_published(line)


def length(size: int) -> bytes:
    """Return ``size`` as MQTT writes it: seven bits a byte, the least first."""
    digits = []
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (128 if size else 0))
        if not size:
            return bytes(digits)


def read_packet(line: ssl.SSLSocket) -> tuple[int, bytes] | None:
    """Return the next packet's first byte and what follows its length; None at the end."""
    if not (kind := line.recv(1)):
        return None
    size = shift = 0
    while True:
        (digit,) = line.recv(1)
        size |= (digit & 127) << shift
        shift += 7
        if digit < 128:
            break
    rest = b""
    while len(rest) < size:
        rest += line.recv(size - len(rest))
    return kind[0], rest


class Files:
    """Certificates and keys in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "ca.pem"
        self.ca.write_text(to_pem(CA.certificate))
        self.device = self.issue("device", lambda key: CA.issue_device(key, DEVICE, NOW))

    def issue(self, name: str, issue: Issue) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, key_file = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_text(to_pem(issue(key.public_key())))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key_file


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@contextmanager
def running_broker(files: Files, issue: Issue = good) -> Iterator[FakeBroker]:
    broker = FakeBroker(*files.issue("broker", issue))
    try:
        yield broker
    finally:
        broker.close()


@pytest.fixture
def far(files: Files) -> Iterator[FakeBroker]:
    """A broker that says yes to everything."""
    with running_broker(files) as broker:
        yield broker


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doorbell that seeks the next connection at once."""
    monkeypatch.setattr(broker_module, "FIRST_RETRY_S", 0.02)
    monkeypatch.setattr(broker_module, "LONGEST_RETRY_S", 0.02)


@asynccontextmanager
async def connection(
    files: Files, port: int, floor: datetime = NOW - timedelta(days=10)
) -> AsyncIterator[PahoBroker]:
    """A doorbell's connection, being sought until the block ends."""
    certificate, key = files.device
    address = BrokerAddress("localhost", port, files.ca, certificate, key, floor)
    broker = PahoBroker(
        address,
        client_id="doorbell",
        filters=("down/#",),
        loop=asyncio.get_running_loop(),
        will=lambda count: Message("status", str(count).encode()),
    )
    broker.start()
    try:
        yield broker
    finally:
        await broker.close()


async def next_of(
    broker: PahoBroker, is_it: Callable[[Happening], bool], what: str = "this"
) -> Happening:
    """Return the first happening that is it, passing over the others."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            async for happening in broker.happenings():
                if is_it(happening):
                    return happening
    raise AssertionError(f"{what} did not happen")


async def until(is_so: Callable[[], bool], what: str = "this") -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen")
        await asyncio.sleep(0.002)


def is_connected(happening: Happening) -> bool:
    return isinstance(happening, Connected)


async def test_it_says_how_much_it_takes_and_begins_clean_only_once(
    files: Files, far: FakeBroker
) -> None:
    async with connection(files, far.port) as broker:
        await next_of(broker, is_connected)
        far.lines[0].hang_up()
        assert await next_of(broker, is_connected) == Connected(2)
    first, second = (line.connect for line in far.lines)
    told = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # of paho
    told.unpack(first[10:])  # type: ignore[no-untyped-call]  # of paho
    found = cast("Any", told)
    assert found.ReceiveMaximum == RECEIVE_MAXIMUM
    assert found.MaximumPacketSize == MAX_PACKET_BYTES
    assert found.SessionExpiryInterval == 30
    assert [bool(connect[7] & 2) for connect in (first, second)] == [True, False]
    # The will of each connection is its own.
    assert first.endswith(b"\x00\x06status\x00\x011")
    assert second.endswith(b"\x00\x06status\x00\x012")


async def test_a_doorbell_that_the_broker_does_not_know_yet_comes_again_and_again(
    files: Files, far: FakeBroker
) -> None:
    far.refusals = 3
    async with connection(files, far.port) as broker:
        told = await next_of(broker, lambda h: not isinstance(h, Message))
        assert told == Disconnected("the broker does not know this doorbell yet, or no more")
        assert await next_of(broker, is_connected) == Connected(4)


async def test_a_broker_that_sends_more_than_can_be_read_costs_one_connection(
    files: Files, far: FakeBroker
) -> None:
    def flood(line: Line) -> None:
        for _ in range(MAX_WAITING + 50 if line.number == 1 else 1):
            line.publish(b"down/x", b"more")

    far.on_subscribed = flood
    async with connection(files, far.port) as broker:
        # Nobody reads meanwhile, as when the event loop is busy.
        deadline = time.monotonic() + PATIENCE_S
        while len(far.lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)  # noqa: ASYNC251  # that is the point
        assert await next_of(broker, is_connected, "the next connection") == Connected(2)
        assert await next_of(broker, lambda h: isinstance(h, Message)) == Message("down/x", b"more")
        broker.publish("up", b"ring")
        await until(lambda: len(far.lines[1].published) == 1, "the ring")


async def test_a_packet_without_end_costs_one_connection_and_no_memory(
    files: Files, far: FakeBroker
) -> None:
    def begin_a_long_one(line: Line) -> None:
        if line.number == 1:
            line.say(b"\x30" + length(200 * 1024 * 1024) + bytes(1000))

    far.on_subscribed = begin_a_long_one
    async with connection(files, far.port) as broker:
        await next_of(broker, lambda h: isinstance(h, Disconnected), "the end of it")
        assert await next_of(broker, is_connected) == Connected(2)


async def test_a_topic_that_is_no_text_is_passed_over(files: Files, far: FakeBroker) -> None:
    def say_nonsense(line: Line) -> None:
        line.publish(b"down/\xff", b"bad")
        line.publish(b"down/x", b"good")

    far.on_subscribed = say_nonsense
    async with connection(files, far.port) as broker:
        assert await next_of(broker, lambda h: isinstance(h, Message)) == Message("down/x", b"good")


async def test_a_connection_is_told_once_however_often_the_broker_says_so(
    files: Files, far: FakeBroker
) -> None:
    far.subacks = 5
    far.on_subscribed = lambda line: line.publish(b"down/x")
    async with connection(files, far.port) as broker:
        told = [await next_of(broker, lambda _: True) for _ in range(2)]
    assert told == [Connected(1), Message("down/x", b"")]


async def test_what_one_connection_left_unacknowledged_is_not_sent_on_the_next(
    files: Files, far: FakeBroker
) -> None:
    def hang_up_after_three(line: Line) -> None:
        if line.number == 1 and len(line.published) == 3:
            line.hang_up()

    far.on_published = hang_up_after_three
    async with connection(files, far.port) as broker:
        await next_of(broker, is_connected)
        for _ in range(40):
            with suppress(BrokerUnreachableError):
                broker.publish("up", b"old")
        await next_of(broker, is_connected, "the next connection")
        broker.publish("up", b"new")
        await until(lambda: far.lines[1].published != [], "the new one")
        assert far.lines[1].published[0].endswith(b"new")


async def test_without_a_connection_a_message_is_refused(files: Files, far: FakeBroker) -> None:
    port = far.port
    far.close()
    async with connection(files, port) as broker:
        await next_of(broker, lambda h: isinstance(h, Disconnected))
        with pytest.raises(BrokerUnreachableError):
            broker.publish("up", b"ring")


@pytest.mark.parametrize(
    "issue",
    [
        pytest.param(
            lambda key: CA.issue_server(key, ["localhost"], NOW - timedelta(days=800)),
            id="expired",
        ),
        pytest.param(
            lambda key: CA.issue_server(key, ["localhost"], NOW + timedelta(days=30)),
            id="not yet valid",
        ),
        pytest.param(lambda key: CA.issue_server(key, ["elsewhere"], NOW), id="another name"),
        pytest.param(lambda key: CA.issue_device(key, DEVICE, NOW), id="a doorbell's"),
        pytest.param(lambda key: OTHER_CA.issue_server(key, ["localhost"], NOW), id="another CA"),
    ],
)
async def test_a_broker_that_is_not_the_services_is_told_nothing(
    files: Files, issue: Issue
) -> None:
    with running_broker(files, issue) as impostor:
        async with connection(files, impostor.port) as broker:
            for _ in range(2):  # and it is tried again
                told = await next_of(broker, lambda _: True)
                assert isinstance(told, Disconnected)
        assert impostor.lines == []


async def test_a_clock_that_was_never_set_does_no_harm_above_the_floor(
    files: Files, far: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LongAgo(datetime):
        """A clock that says 1970."""

        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # noqa: ANN401  # datetime's own
            return datetime(1970, 1, 1, tzinfo=tz)

    monkeypatch.setattr(broker_module, "datetime", LongAgo)
    async with connection(files, far.port, floor=NOW) as broker:
        assert await next_of(broker, is_connected) == Connected(1)


async def test_a_floor_after_the_certificates_end_refuses_it(files: Files, far: FakeBroker) -> None:
    async with connection(files, far.port, floor=NOW + timedelta(days=1095)) as broker:
        assert isinstance(await next_of(broker, lambda _: True), Disconnected)
    assert far.lines == []


def test_a_certificate_is_valid_from_its_first_to_its_last_second() -> None:
    dates = {"notBefore": "Jan  1 00:00:00 2027 GMT", "notAfter": "Jan  2 00:00:00 2027 GMT"}
    first, last = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)
    check_dates(dates, first)
    check_dates(dates, last)
    second = timedelta(seconds=1)
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet"):
        check_dates(dates, first - second)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        check_dates(dates, last + second)
