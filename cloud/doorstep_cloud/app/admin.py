"""What the operator may ask of the running service, over a socket only its user can open.

SQLite has one process, so commands do not open the databases: they ask here.
"""

import json
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Annotated, Final

from fastapi import Depends, FastAPI
from pydantic import BaseModel

from doorstep_cloud.households.invites import create_invite
from doorstep_cloud.households.principal import Clock, DatabasesDep, NowDep
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.moments import Moment
from doorstep_cloud.web.health import Health, Part, Probes, probes
from doorstep_cloud.web.limits import BodyLimit
from doorstep_cloud.web.problems import install_problems
from doorstep_shared.errors import RefusedError, TryLaterError

_TIMEOUT_S: Final = 15.0


class NotRunningError(TryLaterError):
    """Nobody answers on the admin socket."""


class AdminError(RefusedError):
    """The running service said no."""


class InviteAnswer(BaseModel):
    """A new invite; it is shown here and never again."""

    invite: str
    expires_at: Moment
    public_url: str


class CheckAnswer(Health):
    """Whether the service is well, and under which address."""

    public_url: str


def create_admin_app(
    databases: Databases,
    well: Probes,
    public_url: str,
    clock: Clock,
    *,
    remarks: Callable[[], Sequence[Part]] = tuple,
) -> FastAPI:
    """Return the app on the admin socket. It shares no route and no session with the other.

    Args:
        databases: Migrated.
        well: The parts the service needs.
        public_url: Under which clients know the service.
        clock: Returns Unix milliseconds.
        remarks: What an operator should know though the service is ready.
    """
    app = FastAPI(title="Doorstep admin", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.databases = databases
    app.state.probes = well
    app.state.clock = clock

    @app.post("/invites", status_code=201)
    def create(databases: DatabasesDep, now: NowDep) -> InviteAnswer:
        with databases.write() as unit:
            invite = create_invite(unit, now, secrets.token_bytes)
            unit.commit()
        return InviteAnswer(
            invite=invite.code, expires_at=invite.expires_at_ms, public_url=public_url
        )

    @app.get("/check")
    def check(asked: Annotated[Probes, Depends(probes)]) -> CheckAnswer:
        health = asked.ask()
        parts = [*health.parts, *remarks()]
        return CheckAnswer(is_ready=health.is_ready, parts=parts, public_url=public_url)

    install_problems(app)
    app.add_middleware(BodyLimit)
    return app


def ask_running(
    path: Path, method: str, address: str, *, timeout_s: float = _TIMEOUT_S
) -> Mapping[str, object]:
    """Return what the running service answers on its admin socket ``path``.

    Raises:
        NotRunningError: Nobody answers.
        AdminError: It refused.
    """
    with closing(UnixConnection(path, timeout_s)) as connection:
        try:
            connection.request(method, address)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        except (OSError, HTTPException, ValueError) as error:
            raise not_running(path) from error
    if not isinstance(found, dict) or answer.status >= HTTPStatus.BAD_REQUEST:
        raise AdminError("the running service refused", do="Its log says more.")
    return found


def not_running(path: Path) -> NotRunningError:
    """Return the error that nobody answers on the admin socket ``path``."""
    return NotRunningError(
        f"no running service answers on {path}",
        safe="Nothing was changed.",
        do="doorstep-cloud all        (with the same DOORSTEP_CLOUD_STATE_DIR)",
    )


class UnixConnection(HTTPConnection):
    """HTTP over a Unix socket; each answer, or piece of one, within ``timeout_s``."""

    def __init__(self, path: Path, timeout_s: float | None = _TIMEOUT_S) -> None:
        super().__init__("admin", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
