"""Clips after a database was put back from a backup: what was deleted stays deleted.

Either side may know of a deletion: main by a tombstone, the vault by envelopes it has no
more. Nothing here ends a unit of work.
"""

from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session, make_transient

from doorstep_cloud.clips.deletion import (
    bury,
    clips_without_envelope,
    drop_envelopes,
    envelopes_of_tombstones,
)
from doorstep_cloud.clips.tables import ClipRow
from doorstep_cloud.households.keyring import households_in_vault
from doorstep_cloud.store.databases import Unit
from doorstep_shared.ids import ClipId

# SQLite takes 32,766 values in a statement, and no list is built of a whole table.
_AT_A_TIME: Final = 500

_Page = tuple[list[ClipId], str | None]


def carry_tombstones(unit: Unit, aside: Session) -> int:
    """Take over the deletions that main knew before it was put back; return how many were new.

    Args:
        unit: A write unit.
        aside: On the main database that was set aside.
    """
    carried = 0
    for row in aside.scalars(select(ClipRow).where(ClipRow.deleted_at_ms.is_not(None))):
        before = unit.main.get(ClipRow, row.id)
        if before is None or before.deleted_at_ms is None:
            bury(unit, [ClipId(row.id)], row.deleted_at_ms or 0)
            make_transient(row)
            unit.main.merge(row)
            carried += 1
    unit.main.flush()
    return carried


def drop_envelopes_of_tombstones(unit: Unit) -> int:
    """Remove from the vault what opens a clip that was deleted; return of how many clips."""
    dropped = 0
    for clips in _pages(lambda after: envelopes_of_tombstones(unit, after, _AT_A_TIME)):
        drop_envelopes(unit, clips)
        dropped += len(clips)
    return dropped


def bury_unopenable(unit: Unit, now_ms: int, *, stored_only: bool) -> int:
    """Make tombstones of clips whose file nothing in the vault opens; return how many.

    Not of those whose household has no keyring there either: that vault was lost, or is
    another one, and nobody has deleted anything. A sweep gives them up after a day.

    Args:
        unit: A write unit.
        now_ms: Unix milliseconds, when they count as deleted.
        stored_only: Only those whose doorbell has all its receipts; while it has not, it
            brings an envelope again that is missing.
    """
    known = households_in_vault(unit)
    buried = 0
    for clips in _pages(lambda after: clips_without_envelope(unit, now_ms, after, _AT_A_TIME)):
        wanted = select(ClipRow.id).where(ClipRow.id.in_(clips), ClipRow.household.in_(known))
        if stored_only:
            wanted = wanted.where(ClipRow.stored_at_ms.is_not(None))
        buried += len(bury(unit, list(map(ClipId, unit.main.scalars(wanted))), now_ms))
    return buried


def count_beyond_vault(unit: Unit) -> int:
    """Return how many living clips are of households that the vault does not know."""
    known = households_in_vault(unit)
    counts = unit.main.execute(
        select(ClipRow.household, func.count())
        .where(ClipRow.deleted_at_ms.is_(None))
        .group_by(ClipRow.household)
    )
    return sum(count for household, count in counts if household not in known)


def _pages(read: Callable[[str], _Page]) -> Iterator[list[ClipId]]:
    after: str | None = ""
    while after is not None:
        clips, after = read(after)
        yield clips
