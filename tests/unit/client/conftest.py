"""The owner's client, asking a real service in this process."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import structlog

from doorstep_client import __main__ as command
from doorstep_client import consent as consent_module
from doorstep_client import household as household_module
from doorstep_client.home import Home
from doorstep_client.household import Household, found
from tests.cast import PUBLIC_URL, Stage, stage
from tests.people import random_from

Mangle = Callable[[httpx.Request, Callable[[httpx.Request], httpx.Response]], httpx.Response]


class Line(httpx.BaseTransport):
    """The way to the service; a test may stand in it.

    Attributes:
        asked: Method and path of every request.
        mangle: Answers in the service's place, or asks it.
    """

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.asked: list[str] = []
        self.mangle: Mangle | None = None
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Carry one request."""
        self.asked.append(f"{request.method} {request.url.path}")
        if self.mangle is not None:
            return self.mangle(request, self._inner.handle_request)
        return self._inner.handle_request(request)


@pytest.fixture
def service() -> Iterator[Stage]:
    """A service nobody has used yet."""
    with stage() as running:
        yield running


@pytest.fixture
def line(service: Stage, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The client's only way out, which leads to the service."""
    carrying = Line(service.client._transport)
    client = httpx.Client

    def connect(**options: object) -> httpx.Client:
        del options["timeout"]  # the service in this process takes none
        return client(base_url=str(options["base_url"]), transport=carrying)

    monkeypatch.setattr("doorstep_client.service.httpx.Client", connect)
    monkeypatch.setattr(household_module, "now_ms", service.clock)
    monkeypatch.setattr(consent_module, "now_ms", service.clock)
    return carrying


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder for an owner's keys, still empty."""
    return Home(tmp_path / "keys")


@pytest.fixture
def household(service: Stage, line: Line, home: Home) -> Iterator[Household]:
    """A founded household."""
    del line
    found(home, PUBLIC_URL, service.invite(), random_from("owner"))
    with Household(home) as founded:
        yield founded


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Type = Callable[..., Ended]
"""Types ``doorstep`` with these words behind it."""


@pytest.fixture
def typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home, line: Line
) -> Type:
    """Returns how ``doorstep`` ends with these words behind it."""
    del line
    monkeypatch.setenv("DOORSTEP_HOME", str(home.folder))

    def run(*words: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["doorstep", *words])
        capsys.readouterr()
        try:
            with structlog.testing.capture_logs():  # the service in this process tells much
                command.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        else:
            code = 0
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run
