"""What each part tells of itself when the metrics are read, and what that means.

`FAMILIES` is the whole table; docs/reference/metrics.md is made from it. A new number is a
row there and a line in one `read_…`.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import select

from doorstep_cloud.app.credentials import BROKER, CA, INGEST, read_end
from doorstep_cloud.app.jobs import Expiry
from doorstep_cloud.app.worker import Worker
from doorstep_cloud.clips.downloads import DownloadPlaces
from doorstep_cloud.devices.service import count_online
from doorstep_cloud.events.hub import Hub
from doorstep_cloud.households.principal import Clock
from doorstep_cloud.ingest.counters import Count
from doorstep_cloud.ingest.inbox import TOTAL_LIMIT
from doorstep_cloud.ingest.service import Ingest
from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE, Databases
from doorstep_cloud.store.objects import ObjectStore
from doorstep_cloud.store.spool import TOTAL_LIMIT_BYTES
from doorstep_cloud.store.tables import JobRow
from doorstep_cloud.web.metrics import Family, Kind, Readings

_DAY_MS: Final = 24 * 3600 * 1000

_Found = Mapping[Family, Readings]

COUNTS: Final = Family(
    "doorstep_ingest_total",
    Kind.COUNTER,
    "What ingest took, refused and dropped. Page on `crashed`, `store_failed` and "
    "`dropped_database_away`; a flood shows in the other `dropped_…`.",
    ("what",),
)
CONNECTION: Final = Family(
    "doorstep_broker_connection_up",
    Kind.GAUGE,
    "1 while this connection of ingest to the broker stands and is subscribed. Page on 0.",
    ("connection",),
)
SETTLED: Final = Family(
    "doorstep_broker_access_settled",
    Kind.GAUGE,
    "1 once the broker has taken every doorbell there is.",
)
ADMITTED: Final = Family(
    "doorstep_doorbells_admitted",
    Kind.GAUGE,
    "Enrolled doorbells that no household has revoked; 0 until the broker was met.",
)
BANISHED: Final = Family(
    "doorstep_doorbells_banished",
    Kind.GAUGE,
    "Doorbells put out for a minute, for they sent more than they may.",
)
ONLINE: Final = Family(
    "doorstep_doorbells_online",
    Kind.GAUGE,
    "Doorbells that are connected and were heard within 150 s.",
)
WAITING: Final = Family(
    "doorstep_inbox_messages",
    Kind.GAUGE,
    f"Messages that wait to be handled; further ones are dropped at {TOTAL_LIMIT}.",
    ("lane",),
)
TRANSFERS: Final = Family(
    "doorstep_transfers_unfinished", Kind.GAUGE, "Objects of which bytes are here, or may come."
)
STORING: Final = Family(
    "doorstep_objects_waiting",
    Kind.GAUGE,
    "Whole objects that wait for the store. Page when it does not fall.",
)
SPOOL: Final = Family(
    "doorstep_spool_reserved_bytes",
    Kind.GAUGE,
    f"Set aside in the spool for objects under way, at most {TOTAL_LIMIT_BYTES}.",
)
STORE_ERRORS: Final = Family(
    "doorstep_store_errors_total",
    Kind.COUNTER,
    "Calls that the object store did not answer, or refused.",
)
UNAVAILABLE: Final = Family(
    "doorstep_database_unavailable_total",
    Kind.COUNTER,
    "Units of work given up since the database was busy, full or away.",
    ("unit",),
)
DATABASE_BYTES: Final = Family(
    "doorstep_database_bytes",
    Kind.GAUGE,
    "Size of a database's file and of what is not yet written back into it.",
    ("database", "file"),
)
JOB: Final = Family(
    "doorstep_job_passed_timestamp_seconds",
    Kind.GAUGE,
    "When a job of the worker last came to its end, Unix time. Page when it is old.",
    ("job",),
)
PASSES: Final = Family(
    "doorstep_job_passes_total",
    Kind.COUNTER,
    "How often a job of the worker came to its end.",
    ("job",),
)
JOB_ERRORS: Final = Family(
    "doorstep_job_errors_total",
    Kind.COUNTER,
    "How often a job of the worker failed, or something it needs was away. Page when it grows.",
    ("job",),
)
HELD: Final = Family(
    "doorstep_expiry_held",
    Kind.GAUGE,
    "1 while nothing goes for its age, since the service's clock may be wrong. Look at the clock.",
)
FREE: Final = Family(
    "doorstep_state_free_bytes",
    Kind.GAUGE,
    "Free on the disk of the state folder, which holds databases and spool. Page early.",
)
CERTIFICATE: Final = Family(
    "doorstep_certificate_left_days",
    Kind.GAUGE,
    "Until a certificate ends. Below 30, `doorstep-cloud migrate` and a restart renew those of "
    "the broker and of ingest.",
    ("certificate",),
)
LISTENERS: Final = Family(
    "doorstep_listeners", Kind.GAUGE, "Open streams of events, of all households together."
)
DOWNLOADS: Final = Family("doorstep_downloads_running", Kind.GAUGE, "Clips on their way just now.")
PLACES: Final = Family(
    "doorstep_download_places",
    Kind.GAUGE,
    "Clips that may be on their way at a time (`DOORSTEP_CLOUD_DOWNLOAD_LIMIT`).",
)
REFUSED: Final = Family(
    "doorstep_downloads_refused_total",
    Kind.COUNTER,
    "Downloads asked to come back, for all places were taken, or a household had its share.",
)

FAMILIES: Final = (
    *(COUNTS, CONNECTION, SETTLED, ADMITTED, BANISHED, ONLINE, WAITING),
    *(TRANSFERS, STORING, SPOOL, STORE_ERRORS, UNAVAILABLE, DATABASE_BYTES, JOB),
    *(PASSES, JOB_ERRORS, HELD, FREE, CERTIFICATE, LISTENERS, DOWNLOADS, PLACES, REFUSED),
)


def read_ingest(ingest: Ingest) -> _Found:
    """Return what ingest has counted and what it has to do."""
    load, counts = ingest.load(), ingest.counters.snapshot()
    return {
        COUNTS: {(count.value,): counts.get(count, 0) for count in Count},
        CONNECTION: {(name,): is_up for name, is_up in load.connections.items()},
        SETTLED: {(): load.is_settled},
        ADMITTED: {(): load.admitted},
        BANISHED: {(): load.banished},
        WAITING: {(lane.value,): waiting for lane, waiting in load.waiting.items()},
        TRANSFERS: {(): load.transfers.unfinished},
        STORING: {(): load.transfers.storing},
        SPOOL: {(): load.transfers.reserved_bytes},
    }


def read_store(*stores: ObjectStore) -> _Found:
    """Return how often the object store failed, over all who ask it."""
    return {STORE_ERRORS: {(): sum(store.errors for store in stores)}}


def read_databases(databases: Databases) -> _Found:
    """Return how often the databases could not be used."""
    return {UNAVAILABLE: {(unit,): times for unit, times in databases.unavailable().items()}}


def read_rows(databases: Databases, clock: Clock) -> _Found:
    """Return what only the main database knows.

    Raises:
        DatabaseUnavailableError: It is busy or away.
    """
    with databases.read() as unit:
        online = count_online(unit, clock())
        # No findings: there may be one for each clip.
        names = JobRow.name.not_like("%:%")
        jobs = unit.main.execute(select(JobRow.name, JobRow.passed_at_ms).where(names)).all()
    return {ONLINE: {(): online}, JOB: {(name,): at_ms / 1000 for name, at_ms in jobs}}


def read_worker(worker: Worker, expiry: Expiry) -> _Found:
    """Return how the worker's jobs went, and whether the clock keeps one from its work."""
    return {
        PASSES: {(job,): times for job, times in worker.passes.items()},
        JOB_ERRORS: {(job,): times for job, times in worker.errors.items()},
        HELD: {(): expiry.is_held},
    }


def read_disk(folder: Path) -> _Found:
    """Return how full the state folder's disk is, and with what."""
    files = {"main": folder / MAIN_FILE, "vault": folder / VAULT_FILE}
    sizes: Readings = {
        (name, kind): _size(path.with_name(path.name + ending))
        for name, path in files.items()
        for kind, ending in (("database", ""), ("wal", "-wal"))
    }
    return {FREE: {(): shutil.disk_usage(folder).free}, DATABASE_BYTES: sizes}


def read_certificates(folder: Path, clock: Clock) -> _Found:
    """Return how long the service's certificates last.

    Raises:
        MissingCredentialsError: One is missing or broken.
    """
    pairs = {"ca": CA, "broker": BROKER, "ingest": INGEST}
    left_ms = {
        (name,): read_end(folder, pair).timestamp() * 1000 - clock() for name, pair in pairs.items()
    }
    return {CERTIFICATE: {name: left / _DAY_MS for name, left in left_ms.items()}}


def read_web(hub: Hub, places: DownloadPlaces) -> _Found:
    """Return what goes on over HTTP just now."""
    return {
        LISTENERS: {(): hub.listeners},
        DOWNLOADS: {(): places.running},
        PLACES: {(): places.count},
        REFUSED: {(): places.refused},
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
