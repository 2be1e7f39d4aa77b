"""Certificates that are wrong between ingest and a real broker: said in words, then mended."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from doorstep_cloud.devices.authority import Authority
from doorstep_cloud.ingest import connection as module
from doorstep_cloud.ingest.access import RESPONSES
from doorstep_cloud.ingest.connection import BrokerAddress, Connection
from doorstep_cloud.ingest.counters import IngestCounters
from doorstep_cloud.ingest.trouble import Trouble
from doorstep_simulator.broker import BrokerFiles, broker_program
from doorstep_simulator.processes import Supervised, free_ports, is_listening
from tests.services import START_S, Certificates, crash, wait_until

NOW = datetime.now(tz=UTC)
LONG_AGO, LATER = NOW - timedelta(days=3650), NOW + timedelta(days=365)

Spoil = Callable[[Certificates], None]


def expired(certificates: Certificates) -> None:
    certificates._now = LONG_AGO


def not_yet_valid(certificates: Certificates) -> None:
    certificates._now = LATER


def of_another_authority(certificates: Certificates) -> None:
    certificates.authority = Authority.create(NOW)


class Pair:
    """A broker and one connection of ingest's, each with files of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = Certificates(folder)
        self._files.server()
        self._files.ingest()
        (self.port,) = free_ports(1)
        self._broker: Supervised | None = None
        self._connection: Connection | None = None

    def spoil(self, spoil: Spoil, whose: str) -> None:
        """Replace one of the two certificates by a wrong one."""
        wrong = self._folder / "wrong"
        wrong.mkdir()
        made = Certificates(wrong)
        if spoil is not of_another_authority:
            made.authority = self._files.authority
        spoil(made)
        files = made.server() if whose == "server" else made.ingest()
        for path in (files.certificate, files.key):
            shutil.copy(path, self._folder / path.name)

    def mend(self) -> None:
        """Make both anew; the broker reads its own when it starts."""
        self._files.server()
        self._files.ingest()
        self.stop_broker()
        self.start_broker()

    def start_broker(self) -> None:
        folder = self._folder
        files = BrokerFiles(folder / "ca.pem", folder / "server.pem", folder / "server.key")
        program = broker_program(folder / "broker", self.port, files, folder / "broker.log")
        self._broker = Supervised(program)
        self._broker.wait_until(lambda: is_listening(self.port), START_S)

    def stop_broker(self) -> None:
        if self._broker is not None:
            crash(self._broker)

    def connect(self) -> Connection:
        folder = self._folder
        address = BrokerAddress(
            "127.0.0.1",
            self.port,
            folder / "ca.pem",
            folder / "ingest.pem",
            folder / "ingest.key",
        )
        self._connection = Connection(
            "control", address, (RESPONSES,), lambda _topic, _body: None, IngestCounters()
        )
        self._connection.start()
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.stop()
        self.stop_broker()


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    monkeypatch.setattr(module, "RECONNECT_MAX_S", 1)
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def wait_for_trouble(connection: Connection) -> Trouble:
    wait_until(lambda: connection.trouble is not None, what="a reason")
    found = connection.trouble
    assert found is not None
    return found


# paho leaves the socket of a handshake that failed to be closed when it is forgotten.
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.parametrize(
    ("whose", "spoil", "words"),
    [
        ("server", expired, "the broker's certificate has ended"),
        ("server", not_yet_valid, "the broker's certificate is not valid yet"),
        ("server", of_another_authority, "the broker's certificate hangs from another CA"),
        ("ingest", expired, "ingest's own certificate ended on"),
        ("ingest", not_yet_valid, "ingest's own certificate only begins on"),
        ("ingest", of_another_authority, "ingest's own certificate hangs from another CA"),
    ],
)
def test_a_wrong_certificate_is_said_in_words_until_it_is_mended(
    pair: Pair, whose: str, spoil: Spoil, words: str
) -> None:
    pair.spoil(spoil, whose)
    pair.start_broker()
    with capture_logs() as log:
        connection = pair.connect()
        trouble = wait_for_trouble(connection)
        assert words in trouble.fact
        assert trouble.do
        assert not connection.is_connected
        pair.mend()
        wait_until(lambda: connection.is_connected, what="a connection after the mending")
    assert connection.trouble is None
    said = [line for line in log if line["event"] == "broker_unreachable"]
    assert words in said[0]["fact"]


def test_a_broker_that_is_not_there_is_said_not_to_be(pair: Pair) -> None:
    assert "nobody listens" in wait_for_trouble(pair.connect()).fact
