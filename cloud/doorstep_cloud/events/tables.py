"""Where events rest in the main database.

Times are Unix milliseconds. An event belongs to the doorbell that sent it: two
doorbells that draw the same id have two events.
"""

from sqlalchemy import BigInteger, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase


class EventRow(MainBase):
    """A ring or a motion, as its doorbell told it.

    Attributes:
        at_ms: When it happened, by the doorbell's clock.
        received_at_ms: When the service took it, by the service's clock; what lists are sorted by.
    """

    __tablename__ = "event"
    # Newest first, of one household, with the id to break ties: the order of every list.
    __table_args__ = (Index("ix_event_household_received", "household", "received_at_ms", "event"),)

    device: Mapped[str] = mapped_column(String(29), primary_key=True)
    event: Mapped[str] = mapped_column(String(36), primary_key=True)
    household: Mapped[str] = mapped_column(String(26))
    kind: Mapped[str] = mapped_column(String(6))
    alert: Mapped[str] = mapped_column(String(6))
    at_ms: Mapped[int] = mapped_column(BigInteger)
    clock_synced: Mapped[bool]
    received_at_ms: Mapped[int] = mapped_column(BigInteger)


class ClipEventRow(MainBase):
    """An event that a clip shows, by the clip's signed manifest.

    Event and clip come on their own, in any order: either may be missing yet.
    """

    __tablename__ = "clip_event"
    __table_args__ = (Index("ix_clip_event_device_event", "device", "event"),)

    clip: Mapped[str] = mapped_column(String(36), primary_key=True)
    event: Mapped[str] = mapped_column(String(36), primary_key=True)
    device: Mapped[str] = mapped_column(String(29))
