"""The web app, composed from values: no settings, no environment, no start order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from fastapi import Depends, FastAPI
from sqlalchemy import text

from doorstep_cloud.access.attempts import Attempts
from doorstep_cloud.access.policy import rules_as_json
from doorstep_cloud.app.figures import read_web
from doorstep_cloud.clips import deletion_routes, retention_routes
from doorstep_cloud.clips import routes as clip_routes
from doorstep_cloud.clips.deleter import ClipListener, Deleter
from doorstep_cloud.clips.deletion_routes import Notary
from doorstep_cloud.clips.downloads import DownloadPlaces
from doorstep_cloud.clips.retention_routes import RetentionListener
from doorstep_cloud.devices import command_routes
from doorstep_cloud.devices import routes as device_routes
from doorstep_cloud.devices.routes import Enroller
from doorstep_cloud.events import routes as event_routes
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.households import consent_routes, entry_routes
from doorstep_cloud.households import routes as household_routes
from doorstep_cloud.households.consent import MAX_CHANGE_BYTES as MAX_CONSENT_BYTES
from doorstep_cloud.households.keyring import MAX_CHANGE_BYTES
from doorstep_cloud.households.principal import Clock, HouseholdListener, now_ms
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_cloud.web import health, metrics, page
from doorstep_cloud.web.headers import AnswerHeaders
from doorstep_cloud.web.health import Probe, Probes
from doorstep_cloud.web.limits import (
    PATIENCE,
    BodyLimit,
    KnownQueries,
    Patience,
    refuse_unknown_query,
)
from doorstep_cloud.web.metrics import Metrics, MetricsGate
from doorstep_cloud.web.problems import MEDIA_TYPE, Problem, install_problems
from doorstep_shared.ids import ClipId
from doorstep_shared.signing import SigningKey

_ABOUT: Final = """\
The service of Doorstep, a video doorbell that nobody outside the household can watch through.
It keeps sealed clips and cannot open them; what it answers is opened by the household's keys.

Times are RFC 3339 ending in `Z`; bytes are base64url without padding; a `Signed` is
`{body, sigs}` with Ed25519 over `"doorstep/v1/" + kind + 0x00 + JCS(body)`. Lists are newest
first. Every error is a problem document: `title` is the fact, `detail` what is safe, `do` the
next step. Another household's thing is the same 404 as none.
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the web app is made of.

    Attributes:
        databases: Migrated.
        enroller: What doorbells are enrolled with.
        public_url: The address clients sign in to.
        hub: Wakes listeners.
        objects: Where payloads are.
        download_limit: Payloads streamed at a time.
        receipt_key: Signs for what is deleted; the enroller has its certificate.
        probes: Parts that must be well, by name.
        metrics: Counts what is answered, and what other parts give it to watch.
        household_listener: Told after a commit that brought a statement, a doorbell or a command.
        clip_listener: Told of clips that were deleted, once nobody sees them any more.
        retention_listener: Told that a household keeps things for another time.
        patience: How long a request's body may be on its way.
        clock: Returns Unix milliseconds.
    """

    databases: Databases
    enroller: Enroller
    public_url: str
    hub: Hub
    objects: ObjectStore
    download_limit: int
    receipt_key: SigningKey
    probes: Mapping[str, Probe] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    household_listener: HouseholdListener = lambda _household: None
    clip_listener: ClipListener = lambda _clips: None
    retention_listener: RetentionListener = lambda: None
    patience: Patience = PATIENCE
    clock: Clock = now_ms


def create_app(parts: Parts) -> FastAPI:
    """Return the app that answers HTTP."""
    app = FastAPI(
        title="Doorstep",
        description=_ABOUT,
        version=_version(),
        # The ready-made pages load scripts from third parties.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(refuse_unknown_query)],
        responses={"4XX": _problem("Refused"), "503": _problem("Try later: see Retry-After")},
    )
    app.state.databases = parts.databases
    app.state.enroller = parts.enroller
    app.state.public_url = parts.public_url
    app.state.hub = parts.hub
    app.state.objects = parts.objects
    app.state.download_places = places = DownloadPlaces(parts.download_limit)
    app.state.metrics = parts.metrics
    parts.metrics.watch("web", partial(read_web, parts.hub, places))
    app.state.household_listener = parts.household_listener
    app.state.retention_listener = parts.retention_listener
    app.state.deleter = _deleter(parts, app.state.download_places)
    app.state.notary = Notary(parts.enroller.receipt_certificate, parts.enroller.ca_certificate)
    app.state.clock = parts.clock
    app.state.attempts = Attempts()
    app.state.probes = Probes({"database": _database_probe(parts.databases), **parts.probes})
    for router in (
        entry_routes.router,
        household_routes.router,
        consent_routes.router,
        device_routes.router,
        command_routes.router,
        event_routes.router,
        clip_routes.router,
        deletion_routes.router,
        retention_routes.router,
        health.router,
        metrics.router,
        page.router,
    ):
        app.include_router(router)
    app.add_api_route("/v1/access-rules.json", show_rules, tags=["access"], methods=["GET"])
    app.state.known_queries = KnownQueries(app)
    install_problems(app)
    longer_bytes = {
        household_routes.KEYRING_PATH: MAX_CHANGE_BYTES,
        consent_routes.CONSENT_PATH: MAX_CONSENT_BYTES,
    }
    app.add_middleware(BodyLimit, longer_bytes=longer_bytes, patience=parts.patience)
    app.add_middleware(MetricsGate)
    app.add_middleware(AnswerHeaders, note=parts.metrics.note_request)
    return app


def show_rules() -> list[dict[str, str | list[str] | None]]:
    """Return the table that decides who may do what; what is in no row is refused."""
    return rules_as_json()


def _deleter(parts: Parts, places: DownloadPlaces) -> Deleter:
    def deleted(clips: Sequence[ClipId]) -> None:
        places.end(clips)
        parts.clip_listener(clips)

    return Deleter(parts.databases, parts.objects, parts.receipt_key, parts.clock, deleted)


def _database_probe(databases: Databases) -> Probe:
    def probe() -> None:
        with databases.read() as unit:
            # A transaction by itself reads no page.
            for session in (unit.main, unit.vault):
                session.execute(text("select count(*) from sqlite_master"))

    return probe


def _problem(description: str) -> dict[str, object]:
    return {
        "description": description,
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }


def _version() -> str:
    try:
        return version("doorstep")
    except PackageNotFoundError:
        return "0"
