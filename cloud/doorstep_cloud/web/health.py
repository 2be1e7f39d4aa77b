"""Is it well: the process (`/healthz`), and everything it needs (`/readyz`)."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from doorstep_shared.errors import DoorstepError

router: Final = APIRouter(tags=["health"])

Probe = Callable[[], None]
"""Returns when a part is well, and raises a `DoorstepError` that says what is wrong."""

# Strangers may ask as often as they like; the parts are asked at most this often.
_FRESH_S: Final = 2.0


class Part(BaseModel):
    """One part the service needs."""

    name: str
    is_well: bool
    fact: str


class Health(BaseModel):
    """Whether the service can do its work now, part by part."""

    is_ready: bool
    parts: list[Part]


@dataclass(slots=True)
class Probes:
    """The parts and how each is asked; answers are kept for two seconds.

    Whoever comes while the parts are being asked gets the answer before: a part that
    hangs must hold one thread, not one for each who asks.

    Attributes:
        probes: By the part's name, in the order they are shown. Each answers within seconds.
    """

    probes: Mapping[str, Probe]
    _asked_at: float = field(default=float("-inf"), init=False)
    _last: Health = field(init=False)
    _asking: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Begin with parts of which nothing is known."""
        parts = [Part(name=name, is_well=False, fact="not asked yet") for name in self.probes]
        self._last = Health(is_ready=False, parts=parts)

    def ask(self) -> Health:
        """Return the health of all parts: two seconds old at most, or the newest there is."""
        if self._asking.acquire(blocking=False):
            try:
                self._ask_again_if_old()
            finally:
                self._asking.release()
        return self._last

    def _ask_again_if_old(self) -> None:
        if time.monotonic() - self._asked_at > _FRESH_S:
            parts = [_ask(name, probe) for name, probe in self.probes.items()]
            self._last = Health(is_ready=all(part.is_well for part in parts), parts=parts)
            self._asked_at = time.monotonic()


def probes(request: Request) -> Probes:
    """Return the probes this app was composed with."""
    found = request.app.state.probes
    if not isinstance(found, Probes):
        raise TypeError("the app was composed without probes")
    return found


ProbesDep = Annotated[Probes, Depends(probes)]


class Alive(BaseModel):
    """The process is up."""

    is_alive: bool = True


@router.get("/healthz")
def show_alive() -> Alive:
    """Return that the process is up; it asks no other part."""
    return Alive()


@router.get("/readyz", response_model=Health, responses={503: {"model": Health}})
def show_ready(probes: ProbesDep) -> JSONResponse:
    """Return whether every part is well: 200 if so, 503 if not."""
    health = probes.ask()
    return JSONResponse(health.model_dump(), status_code=200 if health.is_ready else 503)


def _ask(name: str, probe: Probe) -> Part:
    try:
        probe()
    except DoorstepError as error:
        return Part(name=name, is_well=False, fact=error.fact)
    return Part(name=name, is_well=True, fact="well")
