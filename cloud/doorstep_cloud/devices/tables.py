"""What is kept of a doorbell: the claim it answered, its keys, when it was heard.

Times are Unix milliseconds, by the service's clock.
"""

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase


class ClaimRow(MainBase):
    """A claim an owner has made; the service knows its id and not its secret."""

    __tablename__ = "claim"
    __table_args__ = (
        CheckConstraint("length(id) = 16", name="id_length"),
        Index(None, "household"),
    )

    id: Mapped[bytes] = mapped_column(primary_key=True)
    household: Mapped[str] = mapped_column(ForeignKey("household.id"))
    created_at_ms: Mapped[int]
    expires_at_ms: Mapped[int]


class DeviceRow(MainBase):
    """An enrolled doorbell. Whether the household trusts it, its statements say.

    Attributes:
        tls_key: DER SubjectPublicKeyInfo, P-256.
        manifest_key: Raw Ed25519 public key; ingest checks manifests by this one.
        claim: The last one it answered.
        mac: Vouches to the owner's client, not to the service, for the keys, under that claim.
        certificate: PEM.
    """

    __tablename__ = "device"
    __table_args__ = (
        CheckConstraint("length(id) = 29", name="id_length"),
        CheckConstraint("length(manifest_key) = 32", name="manifest_key_length"),
        CheckConstraint("length(mac) = 32", name="mac_length"),
        UniqueConstraint("claim"),
        UniqueConstraint("manifest_key"),
        Index(None, "household"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    household: Mapped[str] = mapped_column(ForeignKey("household.id"))
    claim: Mapped[bytes] = mapped_column(ForeignKey("claim.id"))
    tls_key: Mapped[bytes]
    manifest_key: Mapped[bytes]
    age_recipient: Mapped[str]
    mac: Mapped[bytes]
    certificate: Mapped[str]
    enrolled_at_ms: Mapped[int]


class PresenceRow(MainBase):
    """When a doorbell was heard last, and what it said of itself.

    Attributes:
        earlier_boots: A space between.
        health: The last health message, JSON of `doorstep_shared.wire.Health`.
    """

    __tablename__ = "presence"

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    boot: Mapped[str]
    connections: Mapped[int]
    is_connected: Mapped[bool]
    earlier_boots: Mapped[str]
    last_heard_at_ms: Mapped[int]
    agent: Mapped[str | None]
    health: Mapped[str | None]
    health_at_ms: Mapped[int | None]


class CommandRow(MainBase):
    """What an owner told a doorbell to do; carried until it answers, or until its end.

    Attributes:
        signed: The owner's container; the service could not have made it.
        answered_at_ms: When the doorbell said what it did; None before.
        is_done: What it said, with the reason if it did not; None before.
    """

    __tablename__ = "device_command"
    __table_args__ = (
        CheckConstraint("counter >= 1", name="counter_from_one"),
        CheckConstraint("name in ('delete')", name="name_known"),
        CheckConstraint("(answered_at_ms is null) = (is_done is null)", name="answered_or_not"),
    )

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    counter: Mapped[int] = mapped_column(primary_key=True)
    household: Mapped[str]
    name: Mapped[str]
    signed: Mapped[bytes]
    received_at_ms: Mapped[int]
    expires_at_ms: Mapped[int]
    answered_at_ms: Mapped[int | None]
    is_done: Mapped[bool | None]
    reason: Mapped[str | None]
