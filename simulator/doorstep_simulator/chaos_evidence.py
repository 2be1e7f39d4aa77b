"""What an audit needs to know, gathered: over HTTP, from the bucket, from files, from cards."""

import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

from doorstep_client import clips
from doorstep_client.clips import ClipItem, Filter
from doorstep_client.household import Household
from doorstep_cloud.app.state import SPOOL
from doorstep_cloud.store.databases import MAIN_FILE, VAULT_FILE
from doorstep_device.adapters.disk import FolderDisk
from doorstep_device.clip_folder import OUTBOX, ClipRecord, ClipState
from doorstep_device.identity import read_enrolment, read_keys
from doorstep_device.outbox import Outbox, OutboxKeys
from doorstep_shared.age_keys import Identity
from doorstep_shared.errors import DoorstepError
from doorstep_shared.manifest import Manifest, ObjectName
from doorstep_shared.opening import check_manifest, open_object
from doorstep_shared.signing import Signed, VerifyKey
from doorstep_shared.statements import Statement
from doorstep_simulator.chaos_audit import TABLES, Bytes, KeptClip
from doorstep_simulator.folder import files_below
from doorstep_simulator.object_store import ACCESS_KEY, BUCKET
from doorstep_simulator.owner import Owner
from doorstep_simulator.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

Progress = Callable[[int, int], None]

# More than a lab of days records.
_MOST: Final = 100_000
_CARD_BYTES: Final = 1 << 40
_VAULT_TABLES: Final = frozenset({"clip_envelope"})


def list_events(owner: Owner) -> tuple[str, ...]:
    """Return every event that the service lists, as often as it does."""
    return tuple(event.id for event in owner.events(limit=_MOST))


def check_clips(owner: Owner, progress: Progress) -> tuple[KeptClip, ...]:
    """Return every clip that the service lists, each fetched, checked and opened.

    Raises:
        DoorstepError: A clip that is listed has no manifest of a doorbell of this household.
    """
    with Household(owner.home) as household:
        items = clips.list_clips(household, Filter(limit=_MOST))
        statements, epochs = household.chain().statements, household.epochs()
        checked = []
        for done, item in enumerate(items, 1):
            checked.append(_checked(household, item, statements, epochs))
            progress(done, len(items))
    return tuple(checked)


def _checked(
    household: Household,
    item: ClipItem,
    statements: Sequence[Statement],
    epochs: Mapping[int, Identity],
) -> KeptClip:
    signed = household.ask(lambda service: service.get(f"/v1/clips/{item.id}/manifest", Signed))
    manifest = check_manifest(signed, statements)
    troubles = [] if manifest.clip == item.id else ["its manifest is another clip's"]
    for name in manifest.objects if item.state == "stored" else ():
        try:
            _open(household, manifest, name, epochs)
        except DoorstepError as error:
            troubles.append(f"{name.value} does not open: {error.fact}")
    payloads = {name: facts.payload for name, facts in manifest.objects.items()}
    return KeptClip(
        clip=item.id,
        is_stored=item.state == "stored",
        device=manifest.device,
        seq=manifest.seq,
        events=manifest.events,
        part=manifest.part,
        objects={name: Bytes(facts.length, facts.sha256) for name, facts in payloads.items()},
        trouble="; ".join(troubles),
    )


def _open(
    household: Household, manifest: Manifest, name: ObjectName, epochs: Mapping[int, Identity]
) -> None:
    """Fetch an object as its owner would, and open it with every check."""
    facts = manifest.objects[name]
    path = f"/v1/clips/{manifest.clip}/{name.value}.age"
    size_bytes = facts.envelope.length + facts.payload.length
    data = household.ask(lambda service: service.get_bytes(path, size_bytes))
    open_object(manifest, name, data, epochs)


def read_bucket(stack: Stack) -> dict[str, Bytes]:
    """Return every object in the stack's bucket, asked of the store itself."""
    client: S3Client = boto3.session.Session().client(
        "s3",
        endpoint_url=stack.ports.store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=stack.store_secret().key,
        config=Config(s3={"addressing_style": "path"}),
    )
    return {key: _read_object(client, key) for key in _keys(client)}


def _keys(client: "S3Client") -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", ()):
            yield entry["Key"]


def _read_object(client: "S3Client", key: str) -> Bytes:
    body = client.get_object(Bucket=BUCKET, Key=key)["Body"]
    data = body.read()
    return Bytes(len(data), hashlib.sha256(data).digest())


def read_rows(cloud_folder: Path) -> dict[str, tuple[str, ...]]:
    """Return the key of every row about events and clips; the service has stopped before."""
    return {table: _rows(cloud_folder, table, key) for table, key in TABLES.items()}


def _rows(cloud_folder: Path, table: str, key: str) -> tuple[str, ...]:
    file = cloud_folder / (VAULT_FILE if table in _VAULT_TABLES else MAIN_FILE)
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
        found = database.execute(f"select {key} from {table}")  # noqa: S608  # names of our own
        return tuple(str(row[0]) for row in found)


def list_spool(cloud_folder: Path) -> tuple[str, ...]:
    """Return the files of payloads that are not stored yet."""
    spool = cloud_folder / SPOOL
    return tuple(str(file.relative_to(spool)) for file in files_below(spool))


def holds_unsent(card: Path) -> bool:
    """Return whether a clip on the card has not been stored; its doorbell may be running."""
    return any(_is_unsent(folder) for folder in (card / OUTBOX).glob("*/clip.json"))


def _is_unsent(record: Path) -> bool:
    try:
        return ClipRecord.model_validate_json(record.read_bytes()).state is not ClipState.STORED
    except FileNotFoundError:  # evicted while we looked
        return False


def read_waiting(card: Path) -> dict[str, str]:
    """Return what waits on a card for the service's word, by id; its doorbell is off."""
    disk = FolderDisk(card)
    keys, receipt_key = read_keys(disk), VerifyKey(read_enrolment(disk).receipt_key)
    outbox = Outbox.open(
        disk,
        OutboxKeys(keys.public.device, keys.manifest, receipt_key),
        random=secrets.token_bytes,
        cap_bytes=_CARD_BYTES,
    )
    events = (waiting.event.event for waiting in outbox.pending_events())
    clips_left = (waiting.clip for waiting in outbox.pending_clips())
    return {
        **{event: f"the event {event}" for event in events},
        **{clip: f"the clip {clip}" for clip in clips_left},
        **{problem.path: f"what nobody can read ({problem.path})" for problem in outbox.problems},
    }
