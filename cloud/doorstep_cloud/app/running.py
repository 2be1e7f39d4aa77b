"""`doorstep-cloud all`: the whole service in one process, from settings to a clean end."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from doorstep_cloud.app import backup_asking, credentials, upkeep
from doorstep_cloud.app.admin import create_admin_app
from doorstep_cloud.app.backups import Backups, purge_vault_backups
from doorstep_cloud.app.credentials import Credentials, read_credentials
from doorstep_cloud.app.factory import Parts, create_app
from doorstep_cloud.app.figures import (
    read_certificates,
    read_databases,
    read_disk,
    read_ingest,
    read_rows,
    read_store,
    read_worker,
)
from doorstep_cloud.app.jobs import EXPIRE
from doorstep_cloud.app.restoring import clean_up
from doorstep_cloud.app.schema import require_current
from doorstep_cloud.app.serving import (
    create_server,
    listen_tcp,
    listen_unix,
    serve_until_stopped,
)
from doorstep_cloud.app.settling import settle_restored
from doorstep_cloud.app.state import ADMIN_SOCKET, SPOOL, held, require_folder
from doorstep_cloud.app.upkeep import Upkeep
from doorstep_cloud.app.worker import Worker
from doorstep_cloud.devices.routes import Enroller
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.households.principal import now_ms
from doorstep_cloud.ingest.connection import BrokerAddress
from doorstep_cloud.ingest.control import NoteSeconds
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.settings import Settings
from doorstep_cloud.store.databases import Databases
from doorstep_cloud.store.objects import ObjectStore, connect_objects
from doorstep_cloud.store.soundness import require_sound
from doorstep_cloud.web.health import Probe
from doorstep_cloud.web.metrics import Metrics
from doorstep_shared.errors import DoorstepError, TryLaterError
from doorstep_shared.ids import ClipId

# Beside web threads that stream: workers that store.
_SPARE_CONNECTIONS: Final = 8

# A store that does not say within so long whether it holds something is not well.
_PROBE_ANSWER_S: Final = 2.0

# Commands of this machine's user; their connections are no stranger's to use up.
_MOST_ADMINS: Final = 16

_log = structlog.get_logger(__name__)


class BrokerAwayError(TryLaterError):
    """Ingest is not connected to the broker."""


def run_all(settings: Settings) -> None:
    """Run the service until SIGTERM or SIGINT.

    Raises:
        DoorstepError: It could not start; nothing runs then.
    """
    folder = settings.state_dir
    require_folder(folder)
    with ExitStack() as stack:
        stack.enter_context(held(folder))
        if not require_sound(folder):
            _log.warning("databases_seen_in_part")
        databases = Databases.open(folder, is_new=False)
        stack.callback(databases.close)
        require_current(databases)
        clean_up(folder, now_ms())
        settle_restored(databases, folder, now_ms())
        keys = read_credentials(folder)
        listener = stack.enter_context(listen_tcp(settings.listen_host, settings.listen_port))
        admin = stack.enter_context(listen_unix(folder / ADMIN_SOCKET))
        stack.callback((folder / ADMIN_SOCKET).unlink, missing_ok=True)
        hub, objects = Hub(), _objects(settings, settings.download_limit + _SPARE_CONNECTIONS)
        metrics = Metrics()
        ingest = _ingest(settings, databases, objects, hub, keys, note_ring=metrics.note_ring)
        _watch(metrics, folder, databases, objects, ingest)
        worker = Worker()

        def clips_deleted(clips: Sequence[ClipId]) -> None:
            ingest.clips_deleted(clips)
            worker.wake(upkeep.OBJECTS)

        app = create_app(
            Parts(
                databases=databases,
                enroller=_enroller(settings, keys),
                public_url=settings.public_url,
                hub=hub,
                objects=objects,
                download_limit=settings.download_limit,
                probes=_probes(_objects(settings, 1, answer_s=_PROBE_ANSWER_S), ingest),
                metrics=metrics,
                receipt_key=keys.receipt_key,
                household_listener=ingest.household_changed,
                clip_listener=clips_deleted,
                retention_listener=partial(worker.wake, EXPIRE),
            )
        )
        # A deletion that a crash broke off ends before anybody is served.
        app.state.deleter.forget_envelopes()
        tidy = Upkeep(
            databases,
            objects,
            app.state.deleter,
            worker,
            sweep_spool=ingest.sweep_spool,
            purge_backups=lambda: purge_vault_backups(folder, now_ms()),
            now_ms=now_ms,
        )
        metrics.watch("worker", partial(read_worker, worker, tidy.expiry))
        admin_app = create_admin_app(
            databases, app.state.probes, settings.public_url, now_ms, remarks=tidy.remarks
        )
        admin_app.state.sweeper = tidy.sweeper
        admin_app.include_router(upkeep.router)
        admin_app.state.backups = backups = Backups(folder, now_ms)
        admin_app.include_router(backup_asking.router)
        stack.callback(backups.wait)
        ingest.start()
        stack.callback(_log.info, "service_stopped")
        stack.callback(ingest.stop)
        worker.start()
        stack.callback(worker.stop)
        is_behind_proxy = settings.is_behind_tls_proxy
        servers = (
            (create_server(app, is_behind_proxy=is_behind_proxy), listener),
            (create_server(admin_app, is_behind_proxy=False, most=_MOST_ADMINS), admin),
        )
        _log.info("service_started")
        # In a thread of its own: a store that hangs keeps nobody from starting.
        looking = _objects(settings, 1, answer_s=_PROBE_ANSWER_S)
        threading.Thread(target=_tell_of_store, args=(looking,), daemon=True).start()

        def end_what_goes_on() -> None:
            hub.close()
            backups.stop()

        asyncio.run(serve_until_stopped(servers, before_stop=end_what_goes_on))


def _objects(settings: Settings, connections: int, *, answer_s: float | None = None) -> ObjectStore:
    return connect_objects(
        endpoint=settings.s3_endpoint,
        bucket=settings.s3_bucket,
        access_key=settings.s3_access_key,
        secret_key=settings.read_s3_secret(),
        connections=connections,
        answer_s=answer_s,
    )


def _ingest(
    settings: Settings,
    databases: Databases,
    objects: ObjectStore,
    hub: Hub,
    keys: Credentials,
    *,
    note_ring: NoteSeconds,
) -> Ingest:
    folder = settings.state_dir
    certificate, key = credentials.INGEST
    return Ingest(
        databases=databases,
        objects=objects,
        hub=hub,
        broker=BrokerAddress(
            host=settings.broker_host,
            port=settings.broker_port,
            ca=folder / credentials.CA[0],
            certificate=folder / certificate,
            key=folder / key,
        ),
        spool_folder=folder / SPOOL,
        receipt_key=keys.receipt_key,
        now_ms=now_ms,
        note_ring=note_ring,
    )


def _watch(
    metrics: Metrics, folder: Path, databases: Databases, objects: ObjectStore, ingest: Ingest
) -> None:
    metrics.watch("ingest", partial(read_ingest, ingest))
    metrics.watch("store", partial(read_store, objects))
    metrics.watch("database", partial(read_databases, databases))
    metrics.watch("rows", partial(read_rows, databases, now_ms))
    metrics.watch("disk", partial(read_disk, folder))
    metrics.watch("certificates", partial(read_certificates, folder, now_ms))


def _enroller(settings: Settings, keys: Credentials) -> Enroller:
    return Enroller(
        authority=keys.authority,
        ca_certificate=keys.ca_certificate,
        receipt_certificate=keys.receipt_certificate,
        broker_host=settings.device_broker_host,
        broker_port=settings.device_broker_port,
    )


def _tell_of_store(objects: ObjectStore) -> None:
    """Say what is wrong with the object store; the service waits for it, as doorbells do."""
    try:
        objects.require_bucket()
    except DoorstepError as error:
        _log.warning("object_store_unwell", fact=error.fact, safe=error.safe, do=error.do)


def _probes(objects: ObjectStore, ingest: Ingest) -> Mapping[str, Probe]:
    def broker() -> None:
        if not ingest.is_connected:
            why = f": {ingest.trouble}" if ingest.trouble else ""
            raise BrokerAwayError(f"ingest is not connected to the broker{why}")

    return {"object store": objects.require_bucket, "broker": broker}
