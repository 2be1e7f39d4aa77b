"""Where clips rest: what is known of them in main, what opens them in vault.

Times are Unix milliseconds. A row in main without its envelopes in vault is a
deleted clip.
"""

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase, VaultBase


class ClipRow(MainBase):
    """An announced clip.

    Attributes:
        manifest: The signed container as it came; the other columns repeat what lists need.
        manifest_sha256: Of the manifest's body.
        seq: Counts the doorbell's clips from 1.
        start_ms: Of the first frame, by the doorbell's clock.
        part: Counts the parts of a long event from 1.
        announced_at_ms: When the service took the manifest, by its own clock.
        stored_at_ms: When the last object of the manifest was stored; None before.
        deleted_at_ms: Set on a tombstone, which only says that the clip was here.
    """

    __tablename__ = "clip"
    __table_args__ = (
        # Newest first, of one household, with the id to break ties: the order of every list.
        Index("ix_clip_household_announced", "household", "announced_at_ms", "clip"),
        Index("ix_clip_device_seq", "device", "seq"),
    )

    clip: Mapped[str] = mapped_column(String(36), primary_key=True)
    device: Mapped[str] = mapped_column(String(29))
    household: Mapped[str] = mapped_column(String(26))
    kind: Mapped[str] = mapped_column(String(6))
    manifest: Mapped[bytes] = mapped_column(LargeBinary)
    manifest_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    seq: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int] = mapped_column(BigInteger)
    start_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    pre_roll_ms: Mapped[int]
    part: Mapped[int] = mapped_column(BigInteger)
    is_last: Mapped[bool]
    is_truncated: Mapped[bool]
    clock_synced: Mapped[bool]
    announced_at_ms: Mapped[int] = mapped_column(BigInteger)
    stored_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    deleted_at_ms: Mapped[int | None] = mapped_column(BigInteger)


class ClipObjectRow(MainBase):
    """One of a clip's sealed objects: what it must be, and whether it is here.

    Attributes:
        length: Of the payload, bytes.
        sha256: Of the payload.
        stored_at_ms: When it had been stored and read back; None before.
        receipt: The signed container the doorbell was or will be sent; None before.
    """

    __tablename__ = "clip_object"

    clip: Mapped[str] = mapped_column(String(36), ForeignKey("clip.clip"), primary_key=True)
    object: Mapped[str] = mapped_column(String(7), primary_key=True)
    length: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    envelope_length: Mapped[int]
    envelope_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    stored_at_ms: Mapped[int | None] = mapped_column(BigInteger)
    receipt: Mapped[bytes | None] = mapped_column(LargeBinary)


class EnvelopeRow(VaultBase):
    """The age header of one object: it lets the household, and nobody else, open it.

    Attributes:
        written_at_ms: What a sweep of rows that never got their clip goes by.
    """

    __tablename__ = "clip_envelope"

    clip: Mapped[str] = mapped_column(String(36), primary_key=True)
    object: Mapped[str] = mapped_column(String(7), primary_key=True)
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    written_at_ms: Mapped[int] = mapped_column(BigInteger)
