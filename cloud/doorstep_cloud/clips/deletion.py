"""Deleted clips: tombstones, the envelopes that go, the receipts that stay.

Nothing here ends a unit of work. In which order it is called, and why in this one, is
docs/lifecycle.md's subject.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, func, or_, select

from doorstep_cloud.clips.tables import ClipObjectRow, ClipRow, EnvelopeRow
from doorstep_cloud.events.service import unlink_clips
from doorstep_cloud.households.retention import DAY_MS, counted_from, is_over, oldest_kept
from doorstep_cloud.store.databases import Unit
from doorstep_shared.deletions import Deletion, sign_deletion
from doorstep_shared.errors import RefusedError
from doorstep_shared.ids import ClipId, HouseholdId
from doorstep_shared.signing import Signed, SigningKey, decode_signed
from doorstep_shared.wire import DELETED

TOMBSTONE_MS: Final = 400 * DAY_MS
"""A doorbell that was away for a year does not bring a deleted clip again."""

_LOOKED_AT: Final = 500


class ClipDeletedError(RefusedError):
    """The clip was deleted; it is not taken again.

    Attributes:
        tombstone: What is left of it.
    """

    def __init__(self, tombstone: "Tombstone") -> None:
        super().__init__(DELETED, safe="Nothing of it is kept.")
        self.tombstone = tombstone


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is left of a deleted clip.

    Attributes:
        manifest_sha256: Of its manifest's body.
        deleted_at_ms: When it became one.
        receipt: The signed container an owner was given; None if none has asked.
        emptied_at_ms: Since when neither its envelopes nor its objects are anywhere; None if
            they may be.
    """

    clip: ClipId
    household: HouseholdId
    manifest_sha256: bytes
    deleted_at_ms: int
    receipt: bytes | None
    emptied_at_ms: int | None

    def proof(self, key: SigningKey) -> Signed | None:
        """Return what proves the deletion to a doorbell; None while it cannot be signed yet."""
        if self.receipt is not None:
            return decode_signed(self.receipt)
        # Not since it was hidden: what opens it was there for a while.
        return None if self.emptied_at_ms is None else self.sign(key, self.emptied_at_ms)

    def sign(self, key: SigningKey, at: int) -> Signed:
        """Return the receipt: by ``at`` the vault's files held nothing that opens the clip."""
        deletion = Deletion(
            household=self.household, clip=self.clip, manifest=self.manifest_sha256, at=at
        )
        return sign_deletion(deletion, key)


def owner_of_clip(unit: Unit, clip: ClipId) -> HouseholdId | None:
    """Return whose clip this is or was; None if it is unknown, or forgotten."""
    owner = unit.main.scalar(select(ClipRow.household).where(ClipRow.id == clip))
    return None if owner is None else HouseholdId(owner)


def find_tombstone(unit: Unit, clip: ClipId) -> Tombstone | None:
    """Return the tombstone of a clip; None if it was not deleted."""
    row = unit.main.get(ClipRow, clip)
    if row is None or row.deleted_at_ms is None:
        return None
    return Tombstone(
        clip=clip,
        household=HouseholdId(row.household),
        manifest_sha256=row.manifest_sha256,
        deleted_at_ms=row.deleted_at_ms,
        receipt=row.deletion_receipt,
        emptied_at_ms=row.objects_deleted_at_ms,
    )


def bury(unit: Unit, clips: Sequence[ClipId], now: int) -> list[ClipId]:
    """Make tombstones of ``clips``; return those that were none yet.

    Nobody sees them from the commit on. What opens them is still there: `drop_envelopes`.
    """
    alive = select(ClipRow).where(ClipRow.id.in_(clips), ClipRow.deleted_at_ms.is_(None))
    rows = unit.main.scalars(alive).all()
    for row in rows:
        row.deleted_at_ms = now
        row.manifest = b""
        row.started_at_ms = row.ended_at_ms = row.pre_roll_ms = 0
        row.stored_at_ms = None
    buried = [ClipId(row.id) for row in rows]
    unit.main.execute(delete(ClipObjectRow).where(ClipObjectRow.clip.in_(buried)))
    unlink_clips(unit, buried)
    return buried


def drop_envelopes(unit: Unit, clips: Sequence[ClipId]) -> None:
    """Delete what opens ``clips``. The vault's log still holds it: `Databases.forget_deleted`."""
    unit.vault.execute(delete(EnvelopeRow).where(EnvelopeRow.clip.in_(clips)))


def keep_receipt(unit: Unit, clip: ClipId, receipt: Signed) -> Signed:
    """Keep the receipt of a tombstone; return the one kept, which may be an earlier one."""
    row = unit.main.get_one(ClipRow, clip)
    if row.deletion_receipt is None:
        row.deletion_receipt = receipt.encode()
    return decode_signed(row.deletion_receipt)


def tombstones_with_objects(unit: Unit, after: str, limit: int) -> list[ClipId]:
    """Return tombstones whose objects may still be in the store, by id from ``after`` on."""
    query = (
        select(ClipRow.id)
        .where(
            ClipRow.deleted_at_ms.is_not(None),
            ClipRow.objects_deleted_at_ms.is_(None),
            ClipRow.id > after,
        )
        .order_by(ClipRow.id)
        .limit(limit)
    )
    return [ClipId(clip) for clip in unit.main.scalars(query)]


def note_objects_deleted(unit: Unit, clip: ClipId, now: int) -> None:
    """Keep that the store holds nothing of a tombstone."""
    unit.main.get_one(ClipRow, clip).objects_deleted_at_ms = now


def note_objects_back(unit: Unit, clip: ClipId) -> None:
    """Keep that something was put for a tombstone: its objects are to be deleted once more."""
    unit.main.get_one(ClipRow, clip).objects_deleted_at_ms = None


def forget_tombstones(unit: Unit, now: int, limit: int) -> int:
    """Remove tombstones that are older than 400 days and empty; return how many."""
    old = (
        select(ClipRow.id)
        .where(
            ClipRow.deleted_at_ms <= now - TOMBSTONE_MS, ClipRow.objects_deleted_at_ms.is_not(None)
        )
        .limit(limit)
    )
    found = unit.main.scalars(old).all()
    unit.main.execute(delete(ClipRow).where(ClipRow.id.in_(found)))
    return len(found)


def clips_over(
    unit: Unit, household: HouseholdId, days: int, now: int, *, after: str = "", limit: int
) -> tuple[list[ClipId], str | None]:
    """Return clips of a household that are kept for long enough, and where to look on.

    Looks at ``limit`` clips that may be among them, by id from ``after`` on; the second is
    None at the end.
    """
    oldest = oldest_kept(now, days)
    query = (
        select(ClipRow)
        .where(
            ClipRow.household == household,
            ClipRow.deleted_at_ms.is_(None),
            or_(ClipRow.started_at_ms <= oldest, ClipRow.announced_at_ms <= oldest),
            ClipRow.id > after,
        )
        .order_by(ClipRow.id)
        .limit(limit)
    )
    rows = unit.main.scalars(query).all()
    over = [ClipId(row.id) for row in rows if is_over(_kept_from(row), now, days)]
    return over, rows[-1].id if len(rows) == limit else None


def count_over(unit: Unit, household: HouseholdId, days: int, now: int) -> int:
    """Return how many clips of a household are kept for longer than ``days``."""
    count, after = 0, ""
    while True:
        over, onward = clips_over(unit, household, days, now, after=after, limit=_LOOKED_AT)
        count += len(over)
        if onward is None:
            return count
        after = onward


def newest_announcement(unit: Unit) -> int | None:
    """Return when the service last took a clip, by its clock; None if it never did."""
    return unit.main.scalar(select(func.max(ClipRow.announced_at_ms)))


def envelopes_of_tombstones(unit: Unit, after: str, limit: int) -> tuple[list[ClipId], str | None]:
    """Return clips that have envelopes though they are tombstones, and where to look on."""
    query = (
        select(EnvelopeRow.clip)
        .distinct()
        .where(EnvelopeRow.clip > after)
        .order_by(EnvelopeRow.clip)
        .limit(limit)
    )
    clips = unit.vault.scalars(query).all()
    dead = select(ClipRow.id).where(ClipRow.id.in_(clips), ClipRow.deleted_at_ms.is_not(None))
    return list(map(ClipId, unit.main.scalars(dead))), clips[-1] if len(clips) == limit else None


def envelopes_of_nobody(
    unit: Unit, before: int, after: str, limit: int
) -> tuple[list[ClipId], str | None]:
    """Return clips of which there are envelopes from before ``before`` and nothing in main."""
    query = (
        select(EnvelopeRow.clip)
        .where(EnvelopeRow.clip > after)
        .group_by(EnvelopeRow.clip)
        .having(func.max(EnvelopeRow.written_at_ms) <= before)
        .order_by(EnvelopeRow.clip)
        .limit(limit)
    )
    clips = unit.vault.scalars(query).all()
    known = set(unit.main.scalars(select(ClipRow.id).where(ClipRow.id.in_(clips))))
    found = [ClipId(clip) for clip in clips if clip not in known]
    return found, clips[-1] if len(clips) == limit else None


def clips_without_envelope(
    unit: Unit, before: int, after: str, limit: int
) -> tuple[list[ClipId], str | None]:
    """Return clips announced before ``before`` whose file nobody could open any more."""
    query = (
        select(ClipRow.id)
        .where(
            ClipRow.deleted_at_ms.is_(None), ClipRow.announced_at_ms <= before, ClipRow.id > after
        )
        .order_by(ClipRow.id)
        .limit(limit)
    )
    clips = list(map(ClipId, unit.main.scalars(query)))
    return unopenable(unit, clips), clips[-1] if len(clips) == limit else None


def unopenable(unit: Unit, clips: Sequence[ClipId]) -> list[ClipId]:
    """Return those of ``clips`` whose file nobody could open: the vault lacks its envelope."""
    opened = select(EnvelopeRow.clip).where(
        EnvelopeRow.clip.in_(clips), EnvelopeRow.object == "file"
    )
    held = set(unit.vault.scalars(opened))
    return [clip for clip in clips if clip not in held]


def _kept_from(row: ClipRow) -> int:
    return counted_from(row.started_at_ms, row.announced_at_ms, clock_synced=row.clock_synced)
