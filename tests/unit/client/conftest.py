"""The owner's client, asking a real service in this process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

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
