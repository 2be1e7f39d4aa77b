"""A broker's certificate is dated by the latest time that it can possibly be."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from doorstep_cloud.devices.authority import SERVICE_LIFE, Authority, to_pem
from doorstep_device.adapters import broker as broker_module
from doorstep_device.adapters.broker import BrokerAddress, PahoBroker, check_dates
from doorstep_device.ports.broker import BrokerUnreachableError, Disconnected
from tests.people import FRONT_DOOR

DATES = {"notBefore": "Jan  1 00:00:00 2026 GMT", "notAfter": "Jan  1 00:00:00 2028 GMT"}
NOW = datetime.now(UTC)


def on(year: int, month: int = 1, day: int = 1, second: int = 0) -> datetime:
    return datetime(year, month, day, 0, 0, second, tzinfo=UTC)


@pytest.mark.parametrize("at", [on(2026), on(2027), on(2028)])
def test_within_its_dates_a_certificate_is_good(at: datetime) -> None:
    check_dates(DATES, at)


def test_before_its_dates_it_is_not_yet_valid() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        check_dates(DATES, on(2026) - timedelta(seconds=1))


def test_after_its_dates_it_has_expired() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        check_dates(DATES, on(2028, second=1))


class Files:
    """An authority, and files of what it issued at one time."""

    def __init__(self, folder: Path, issued_at: datetime = NOW) -> None:
        self._folder = folder
        self._issued_at = issued_at
        self.authority = Authority.create(issued_at)
        self.ca = folder / "ca.pem"
        self.ca.write_text(to_pem(self.authority.certificate))

    def server(self) -> tuple[Path, Path]:
        """Return certificate and key of the broker."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = ["127.0.0.1"]
        return self._write(
            key, self.authority.issue_server(key.public_key(), names, self._issued_at)
        )

    def address(self, port: int, floor: datetime, ca: Path | None = None) -> BrokerAddress:
        """Return where a doorbell with a certificate of its own looks for the broker."""
        key = ec.generate_private_key(ec.SECP256R1())
        device = FRONT_DOOR.device.id
        own = self._write(
            key, self.authority.issue_device(key.public_key(), device, self._issued_at)
        )
        return BrokerAddress("127.0.0.1", port, ca or self.ca, *own, floor)

    def _write(
        self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> tuple[Path, Path]:
        name = f"{certificate.serial_number:x}"
        files = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        files[0].write_text(to_pem(certificate))
        files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


@contextmanager
def server(files: Files) -> Iterator[int]:
    """Run a TLS server with the broker's certificate; yield its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.server())
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    one, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(one, server_side=True) as wrapped:
                        wrapped.recv(1)
                except OSError:
                    one.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def handshake(folder: Path, issued_at: datetime, floor: datetime, ca: Path | None = None) -> None:
    """Shake hands as the doorbell does; raises what it finds wrong."""
    files = Files(folder, issued_at)
    with server(files) as port:
        context = broker_module._tls_context(files.address(port, floor, ca))
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            assert wrapped.version() in {"TLSv1.2", "TLSv1.3"}


def test_a_certificate_of_today_is_good(tmp_path: Path) -> None:
    handshake(tmp_path, NOW, NOW - timedelta(days=30))


def test_a_clock_that_was_never_set_does_not_refuse_the_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unset(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Unset":
            del tz
            return cls(1970, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(broker_module, "datetime", Unset)
    handshake(tmp_path, NOW, NOW)


def test_a_certificate_from_the_future_is_not_yet_valid(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        handshake(tmp_path, NOW + timedelta(days=3), NOW - timedelta(days=1))


def test_a_certificate_that_the_floor_has_outlived_has_expired(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(tmp_path, NOW, NOW + SERVICE_LIFE + timedelta(days=1))


def test_another_authoritys_certificate_is_refused_whatever_its_dates(tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(to_pem(Authority.create(NOW).certificate))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, NOW, NOW, ca=other)


async def test_a_broker_that_is_not_there_is_told_and_sought_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    line = PahoBroker(
        Files(tmp_path).address(port, NOW),
        client_id="bell",
        filters=("a",),
        loop=asyncio.get_running_loop(),
    )
    with pytest.raises(BrokerUnreachableError):
        line.publish("topic", b"")
    line.start()
    line.start()
    happenings = line.happenings()
    async with asyncio.timeout(20):
        first = await anext(happenings)
    assert isinstance(first, Disconnected)
    await line.close()
    assert [h async for h in happenings if not isinstance(h, Disconnected)] == []
