"""Ways in after main was put back from a backup: those that had ended stay ended.

Nothing here ends a unit of work.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from doorstep_cloud.households.tables import ChallengeRow, HouseholdRow, SessionRow, TokenRow
from doorstep_cloud.store.databases import Unit

RESTORED: Final = "main-restored"
"""The pass that says when main was last put back: what was signed before may have been lost."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many ways in went."""

    sessions: int
    tokens: int


def drop_ways_in(unit: Unit, now_ms: int) -> Dropped:
    """Remove what may have ended since the backup was made, and what has ended by now.

    Sessions go, all of them: one that was signed out would be good again, and clients sign
    in anew by themselves. Challenges go: one that was used could be used once more. A
    token stays until its end, for nobody could make the same one again.

    Args:
        unit: A write unit.
        now_ms: Unix milliseconds.
    """
    unit.main.execute(delete(ChallengeRow))
    sessions = unit.main.execute(delete(SessionRow).returning(SessionRow.id)).all()
    ended = delete(TokenRow).where(TokenRow.expires_at_ms <= now_ms).returning(TokenRow.id)
    return Dropped(len(sessions), len(unit.main.execute(ended).all()))


def drop_revoked_tokens(unit: Unit, aside: Session, made_at_ms: int | None) -> int:
    """Remove the tokens that a main set aside knew no more; return how many.

    Only those of households it knew: a database that was made anew has revoked nothing.

    Args:
        unit: A write unit.
        aside: On the main database that was set aside.
        made_at_ms: Of which moment it is: it cannot know a token that was made later. None if
            it was in use when it was set aside: it knew them all.
    """
    known = set(aside.scalars(select(HouseholdRow.id)))
    kept = set(aside.scalars(select(TokenRow.id)))
    revoked = [
        row
        for row in unit.main.scalars(select(TokenRow))
        if row.household in known
        and row.id not in kept
        and (made_at_ms is None or row.created_at_ms < made_at_ms)
    ]
    for row in revoked:
        unit.main.delete(row)
    unit.main.flush()
    return len(revoked)


def knows_households(unit: Unit, aside: Session) -> bool:
    """Return whether a main set aside knew every household there is; one made anew knows none.

    Args:
        unit: A unit.
        aside: On the main database that was set aside.
    """
    households = select(HouseholdRow.id)
    return set(unit.main.scalars(households)) <= set(aside.scalars(households))
