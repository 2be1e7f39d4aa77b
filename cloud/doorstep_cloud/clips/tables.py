"""Where clips rest: what is known of them in main, what opens them in vault.

A row in main without its envelopes in vault is a clip that nobody can open: deleted if it
is a tombstone, and otherwise completed when its doorbell announces it again.
"""

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase, VaultBase


class ClipRow(MainBase):
    """An announced clip. Its id names its objects in the store, so the first to announce owns it.

    Attributes:
        manifest: The signed container as it came; the other columns repeat what lists need.
        manifest_sha256: Of the manifest's body.
        seq: Counts the doorbell's clips from 1.
        started_at_ms: When its first frame was taken, by the doorbell's clock; what lists are
            sorted by, since a backlog arrives in any order.
        part: Counts the parts of a long event from 1.
        announced_at_ms: When the service took the manifest, by its own clock.
        stored_at_ms: When the last object of the manifest was stored; None before.
        deleted_at_ms: Set on a tombstone, which only says that the clip was here.
        deletion_receipt: The signed container the owner was given; None before.
        objects_deleted_at_ms: When the store had none of its objects any more; None before.
    """

    __tablename__ = "clip"
    __table_args__ = (
        CheckConstraint("kind in ('ring', 'motion')", name="kind_known"),
        CheckConstraint("length(manifest_sha256) = 32", name="hash_length"),
        # Newest first, of one household, with the id to break ties: the order of every list.
        Index(None, "household", "started_at_ms", "id"),
        Index(None, "device", "seq"),
        Index(None, "deleted_at_ms"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    household: Mapped[str]
    kind: Mapped[str]
    manifest: Mapped[bytes]
    manifest_sha256: Mapped[bytes]
    seq: Mapped[int]
    epoch: Mapped[int]
    started_at_ms: Mapped[int]
    ended_at_ms: Mapped[int]
    pre_roll_ms: Mapped[int]
    part: Mapped[int]
    is_last: Mapped[bool]
    is_truncated: Mapped[bool]
    clock_synced: Mapped[bool]
    announced_at_ms: Mapped[int]
    stored_at_ms: Mapped[int | None]
    deleted_at_ms: Mapped[int | None]
    deletion_receipt: Mapped[bytes | None]
    objects_deleted_at_ms: Mapped[int | None]


class ClipObjectRow(MainBase):
    """One of a clip's sealed objects: what it must be, and whether it is here.

    Attributes:
        length: Of the payload, bytes.
        sha256: Of the payload.
        stored_at_ms: When it had been stored and read back; None before.
        receipt: The signed container the doorbell was or will be sent; None before.
    """

    __tablename__ = "clip_object"
    __table_args__ = (
        CheckConstraint("object in ('file', 'thumb', 'details')", name="object_known"),
        CheckConstraint("length(sha256) = 32", name="hash_length"),
        CheckConstraint("(stored_at_ms is null) = (receipt is null)", name="stored_has_receipt"),
    )

    clip: Mapped[str] = mapped_column(ForeignKey("clip.id"), primary_key=True)
    object: Mapped[str] = mapped_column(primary_key=True)
    length: Mapped[int]
    sha256: Mapped[bytes]
    envelope_length: Mapped[int]
    envelope_sha256: Mapped[bytes]
    stored_at_ms: Mapped[int | None]
    receipt: Mapped[bytes | None]


class EnvelopeRow(VaultBase):
    """The age header of one object: it lets the household, and nobody else, open it.

    Attributes:
        written_at_ms: What a sweep of rows that never got their clip goes by.
    """

    __tablename__ = "clip_envelope"

    clip: Mapped[str] = mapped_column(primary_key=True)
    object: Mapped[str] = mapped_column(primary_key=True)
    envelope: Mapped[bytes]
    written_at_ms: Mapped[int]
