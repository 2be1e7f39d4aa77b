"""Clips: announced, stored, listed, opened. Nothing here ends a unit of work."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import aliased

from doorstep_cloud.clips.deletion import ClipDeletedError, find_tombstone
from doorstep_cloud.clips.tables import ClipObjectRow, ClipRow, EnvelopeRow
from doorstep_cloud.events.paging import ListQuery, Page, Place
from doorstep_cloud.events.service import events_of_clips, link_clip
from doorstep_cloud.store.databases import Unit
from doorstep_cloud.store.errors import ConflictError
from doorstep_shared.errors import BadMessageError
from doorstep_shared.ids import ClipId, DeviceId, EventId, HouseholdId, parse_clip_id
from doorstep_shared.manifest import ClipKind, Manifest, ObjectName, PayloadFacts
from doorstep_shared.signing import Signed

OBJECTS: Final = "clips/"
"""Under this every object of a clip is stored, and nothing else."""


@dataclass(frozen=True, slots=True)
class ObjectItem:
    """One sealed object of a clip.

    Attributes:
        size_bytes: Of the whole age file: envelope and payload.
    """

    size_bytes: int
    is_stored: bool


@dataclass(frozen=True, slots=True)
class ClipItem:
    """A clip as lists show it; times are Unix milliseconds.

    Attributes:
        stored_at_ms: When the last of its objects was stored; None before.
        objects: Those the manifest names.
    """

    id: ClipId
    device: DeviceId
    kind: ClipKind
    events: Sequence[EventId]
    started_at_ms: int
    ended_at_ms: int
    pre_roll_ms: int
    part: int
    is_last: bool
    is_truncated: bool
    clock_synced: bool
    epoch: int
    stored_at_ms: int | None
    objects: Mapping[ObjectName, ObjectItem]


@dataclass(frozen=True, slots=True)
class ObjectState:
    """What a transfer needs to know of an object.

    Attributes:
        facts: Length and hash of the payload, as signed; None if the manifest has no such object.
        receipt: The signed container, once it is stored.
        is_deleted: Of a tombstone: nothing of it is taken any more.
    """

    facts: PayloadFacts | None
    receipt: bytes | None
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class SealedObject:
    """Both halves of a stored object, and where the second is.

    Attributes:
        payload_length: Bytes.
        payload_sha256: 32 bytes.
        key: In the object store.
    """

    envelope: bytes
    payload_length: int
    payload_sha256: bytes
    key: str

    @property
    def size_bytes(self) -> int:
        """Return the length of the whole age file."""
        return len(self.envelope) + self.payload_length

    @property
    def etag(self) -> str:
        """Return a strong entity tag (RFC 9110 section 8.8.3) over envelope and payload."""
        both = hashlib.sha256(self.envelope).digest() + self.payload_sha256
        return f'"{hashlib.sha256(both).hexdigest()}"'


def object_key(clip: ClipId, name: ObjectName) -> str:
    """Return where in the store an object's payload is."""
    return f"{OBJECTS}{clip}/{name.value}"


def parse_object_key(key: str) -> tuple[ClipId, ObjectName]:
    """Return whose object is stored under ``key``; the inverse of `object_key`.

    Raises:
        BadMessageError: It is no key of ours.
    """
    clip, _, name = key.removeprefix(OBJECTS).partition("/")
    if not key.startswith(OBJECTS) or name not in set(ObjectName):
        raise BadMessageError("this is no key of an object")
    return parse_clip_id(clip), ObjectName(name)


def announce(
    unit: Unit, signed: Signed, manifest: Manifest, envelopes: Mapping[ObjectName, bytes], now: int
) -> None:
    """Keep a clip's manifest and envelopes; the same manifest again brings what is missing.

    An envelope is missing after the vault was lost.

    Args:
        unit: A write unit.
        signed: The verified container.
        manifest: What it says.
        envelopes: One per object of the manifest, as long and hashed as it says.
        now: Unix milliseconds by the service's clock.

    Raises:
        ConflictError: The id stands for another manifest already.
        ClipDeletedError: It was deleted.
    """
    before = unit.main.get(ClipRow, manifest.clip)
    if before is not None:
        if before.manifest_sha256 != signed.body_hash:
            raise ConflictError("another clip has this id already", safe="The first one is kept.")
        if (tombstone := find_tombstone(unit, manifest.clip)) is not None:
            raise ClipDeletedError(tombstone)
        missing = {
            name: envelope
            for name, envelope in envelopes.items()
            if not _has_envelope(unit, manifest.clip, name)
        }
        _write_envelopes(unit, manifest.clip, missing, now)
        return
    _write_envelopes(unit, manifest.clip, envelopes, now)
    unit.main.add(_clip_row(signed, manifest, now))
    # The objects refer to the clip, and nothing else tells the session which goes first.
    unit.main.flush()
    unit.main.add_all(_object_rows(manifest))
    link_clip(unit, manifest.device, manifest.clip, manifest.events)


def find_object(unit: Unit, device: DeviceId, clip: ClipId, name: ObjectName) -> ObjectState | None:
    """Return an announced object of one of ``device``'s clips.

    None if it has no such clip, or has to announce it again: the object's envelope is
    missing, without which nobody could open what is stored.
    """
    found = unit.main.get(ClipRow, clip)
    if found is None or found.device != device:
        return None
    if found.deleted_at_ms is not None:
        return ObjectState(None, None, is_deleted=True)
    row = unit.main.get(ClipObjectRow, (clip, name.value))
    if row is None:
        return ObjectState(None, None)
    if not _has_envelope(unit, clip, name):
        return None
    return ObjectState(PayloadFacts(length=row.length, sha256=row.sha256), row.receipt)


def record_stored(unit: Unit, clip: ClipId, name: ObjectName, receipt: bytes, now: int) -> None:
    """Keep that an announced object is stored and read back, with what its doorbell is told."""
    row = unit.main.get_one(ClipObjectRow, (clip, name.value))
    row.stored_at_ms, row.receipt = now, receipt
    unit.main.flush()
    missing = select(ClipObjectRow.clip).where(
        ClipObjectRow.clip == clip, ClipObjectRow.stored_at_ms.is_(None)
    )
    if unit.main.scalars(missing).first() is None:
        unit.main.get_one(ClipRow, clip).stored_at_ms = now


def stored_keys(unit: Unit, until: int, after: str, limit: int) -> tuple[list[str], str | None]:
    """Return keys of objects stored until ``until``, in order, and where to look on.

    Of ``limit`` clips from ``after`` on; the second is None at the end.
    """
    query = (
        select(ClipRow.id)
        .where(ClipRow.deleted_at_ms.is_(None), ClipRow.id > after)
        .order_by(ClipRow.id)
        .limit(limit)
    )
    clips = unit.main.scalars(query).all()
    stored = select(ClipObjectRow).where(
        ClipObjectRow.clip.in_(clips), ClipObjectRow.stored_at_ms <= until
    )
    keys = sorted(
        object_key(ClipId(row.clip), ObjectName(row.object)) for row in unit.main.scalars(stored)
    )
    return keys, clips[-1] if len(clips) == limit else None


def is_stored(unit: Unit, clip: ClipId, name: ObjectName) -> bool:
    """Return whether an object is stored by the tables."""
    row = unit.main.get(ClipObjectRow, (clip, name.value))
    return row is not None and row.stored_at_ms is not None


def list_clips(unit: Unit, household: HouseholdId, query: ListQuery) -> Page[ClipItem]:
    """Return one page of a household's clips, the latest begun first."""
    conditions = query.conditions(
        kind=ClipRow.kind, device=ClipRow.device, at=ClipRow.started_at_ms, id_=ClipRow.id
    )
    statement = (
        select(ClipRow)
        .where(ClipRow.household == household, ClipRow.deleted_at_ms.is_(None), *conditions)
        .order_by(ClipRow.started_at_ms.desc(), ClipRow.id.desc())
        .limit(query.limit + 1)
    )
    rows = unit.main.scalars(statement).all()
    shown = rows[: query.limit]
    last = shown[-1] if len(rows) > query.limit else None
    place = None if last is None else Place(last.started_at_ms, last.id)
    return Page(_items(unit, shown), place)


def household_of_clip(unit: Unit, clip: ClipId) -> HouseholdId | None:
    """Return whose clip this is; None if there is no such clip (any more)."""
    owner = unit.main.scalar(
        select(ClipRow.household).where(ClipRow.id == clip, ClipRow.deleted_at_ms.is_(None))
    )
    return None if owner is None else HouseholdId(owner)


def latest_stored(unit: Unit, household: HouseholdId) -> ClipId | None:
    """Return a household's clip that began last, of those whose file is stored."""
    file = aliased(ClipObjectRow)
    found = unit.main.scalar(
        select(ClipRow.id)
        .join(file, file.clip == ClipRow.id)
        .where(
            ClipRow.household == household,
            ClipRow.deleted_at_ms.is_(None),
            file.object == ObjectName.FILE.value,
            file.stored_at_ms.is_not(None),
        )
        .order_by(ClipRow.started_at_ms.desc(), ClipRow.id.desc())
        .limit(1)
    )
    return None if found is None else ClipId(found)


def read_clip(unit: Unit, clip: ClipId) -> ClipItem:
    """Return a clip that exists."""
    return _items(unit, (unit.main.get_one(ClipRow, clip),))[0]


def read_manifest_bytes(unit: Unit, clip: ClipId) -> bytes:
    """Return the signed container of a clip that exists, as its doorbell sent it."""
    return unit.main.get_one(ClipRow, clip).manifest


def find_sealed(unit: Unit, clip: ClipId, name: ObjectName) -> SealedObject | None:
    """Return both halves of an object; None if the clip has none, or not stored yet."""
    row = unit.main.get(ClipObjectRow, (clip, name.value))
    if row is None or row.stored_at_ms is None:
        return None
    envelope = unit.vault.get(EnvelopeRow, (clip, name.value))
    if envelope is None:
        return None
    return SealedObject(envelope.envelope, row.length, row.sha256, object_key(clip, name))


def _has_envelope(unit: Unit, clip: ClipId, name: ObjectName) -> bool:
    return unit.vault.get(EnvelopeRow, (clip, name.value)) is not None


def _write_envelopes(
    unit: Unit, clip: ClipId, envelopes: Mapping[ObjectName, bytes], now: int
) -> None:
    for name, envelope in envelopes.items():
        # A row may be left from a unit whose second half was cut off; it was never served.
        row = EnvelopeRow(clip=clip, object=name.value, envelope=envelope, written_at_ms=now)
        unit.vault.merge(row)


def _clip_row(signed: Signed, manifest: Manifest, now: int) -> ClipRow:
    return ClipRow(
        id=manifest.clip,
        device=manifest.device,
        household=manifest.household,
        kind=manifest.kind.value,
        manifest=signed.encode(),
        manifest_sha256=signed.body_hash,
        seq=manifest.seq,
        epoch=manifest.epoch,
        started_at_ms=manifest.start,
        ended_at_ms=manifest.end,
        pre_roll_ms=manifest.pre_roll_ms,
        part=manifest.part,
        is_last=manifest.last,
        is_truncated=manifest.truncated,
        clock_synced=manifest.clock_synced,
        announced_at_ms=now,
    )


def _object_rows(manifest: Manifest) -> list[ClipObjectRow]:
    return [
        ClipObjectRow(
            clip=manifest.clip,
            object=name.value,
            length=facts.payload.length,
            sha256=facts.payload.sha256,
            envelope_length=facts.envelope.length,
            envelope_sha256=facts.envelope.sha256,
        )
        for name, facts in manifest.objects.items()
    ]


def _items(unit: Unit, rows: Sequence[ClipRow]) -> list[ClipItem]:
    clips = [ClipId(row.id) for row in rows]
    events = events_of_clips(unit, clips)
    objects: dict[str, dict[ObjectName, ObjectItem]] = {clip: {} for clip in clips}
    for row in unit.main.scalars(select(ClipObjectRow).where(ClipObjectRow.clip.in_(clips))):
        size = row.envelope_length + row.length
        item = ObjectItem(size, is_stored=row.stored_at_ms is not None)
        objects[row.clip][ObjectName(row.object)] = item
    return [_item(row, events.get(ClipId(row.id), []), objects[row.id]) for row in rows]


def _item(
    row: ClipRow, events: Sequence[EventId], objects: Mapping[ObjectName, ObjectItem]
) -> ClipItem:
    return ClipItem(
        id=ClipId(row.id),
        device=DeviceId(row.device),
        kind=ClipKind(row.kind),
        events=events,
        started_at_ms=row.started_at_ms,
        ended_at_ms=row.ended_at_ms,
        pre_roll_ms=row.pre_roll_ms,
        part=row.part,
        is_last=row.is_last,
        is_truncated=row.is_truncated,
        clock_synced=row.clock_synced,
        epoch=row.epoch,
        stored_at_ms=row.stored_at_ms,
        objects=objects,
    )
