"""Where events rest in the main database.

An event belongs to the doorbell that sent it: two doorbells that draw the same
id have two events.
"""

from sqlalchemy import CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase


class EventRow(MainBase):
    """A ring or a motion, as its doorbell told it.

    Attributes:
        at_ms: When it happened, by the doorbell's clock.
        received_at_ms: When the service took it, by the service's clock, which may be put back.
        place: Counts the household's events from 1, in the order they were taken; what
            listeners resume by.
    """

    __tablename__ = "event"
    __table_args__ = (
        CheckConstraint("kind in ('ring', 'motion')", name="kind_known"),
        CheckConstraint("alert in ('now', 'digest', 'none')", name="alert_known"),
        # Newest first, of one household, with the id to break ties: the order of every list.
        Index(None, "household", "at_ms", "id"),
        Index(None, "household", "place", unique=True),
    )

    device: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    household: Mapped[str]
    kind: Mapped[str]
    alert: Mapped[str]
    at_ms: Mapped[int]
    clock_synced: Mapped[bool]
    received_at_ms: Mapped[int]
    place: Mapped[int]


class ClipEventRow(MainBase):
    """An event that a clip shows, by the clip's signed manifest.

    Event and clip come on their own, in any order: either may be missing yet.
    """

    __tablename__ = "clip_event"
    __table_args__ = (Index(None, "device", "event"),)

    clip: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
