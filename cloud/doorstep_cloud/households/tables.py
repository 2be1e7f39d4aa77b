"""What is kept of a household: its chain, its people, their ways in, its keyring.

Codes are kept as SHA-256 only. Times are Unix milliseconds.
"""

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from doorstep_cloud.store.base import MainBase, VaultBase


class HouseholdRow(MainBase):
    """A household: known by its root, the hash of the first statement's body."""

    __tablename__ = "household"
    __table_args__ = (
        CheckConstraint("length(id) = 26", name="id_length"),
        CheckConstraint("length(root) = 32", name="root_length"),
        UniqueConstraint("root"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    root: Mapped[bytes]
    created_at_ms: Mapped[int]


class StatementRow(MainBase):
    """One statement of a chain, with the bytes it came in.

    Attributes:
        body_sha256: SHA-256 of the body, the name a successor gives it.
        signed: The container as JSON bytes.
        epoch: The epoch it names, and that epoch's recipient.
        has_keyring: The vault holds keyring files that came with it.
    """

    __tablename__ = "statement"
    __table_args__ = (
        CheckConstraint("seq >= 0", name="seq_from_zero"),
        CheckConstraint("length(body_sha256) = 32", name="hash_length"),
        UniqueConstraint("body_sha256"),
    )

    household: Mapped[str] = mapped_column(ForeignKey("household.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    body_sha256: Mapped[bytes]
    signed: Mapped[bytes]
    epoch: Mapped[int]
    epoch_recipient: Mapped[str]
    has_keyring: Mapped[bool]
    received_at_ms: Mapped[int]


class MemberRow(MainBase):
    """A person the statement in force lists. Leaving the roster deletes the row.

    Attributes:
        sign_key: Raw Ed25519 public key.
        sign_key_id: Its SHA-256, the name under which its holder signs in.
    """

    __tablename__ = "member"
    __table_args__ = (
        CheckConstraint("role in ('owner', 'viewer')", name="role_known"),
        CheckConstraint("length(sign_key) = 32", name="key_length"),
        UniqueConstraint("sign_key_id"),
    )

    household: Mapped[str] = mapped_column(ForeignKey("household.id"), primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    sign_key: Mapped[bytes]
    sign_key_id: Mapped[bytes]


class SettingsRow(MainBase):
    """What a household has set that is no matter of consent; without a row all is as it comes.

    Attributes:
        retention_days: How long clips and events are kept.
    """

    __tablename__ = "household_settings"
    __table_args__ = (CheckConstraint("retention_days between 1 and 60", name="days_bounded"),)

    household: Mapped[str] = mapped_column(ForeignKey("household.id"), primary_key=True)
    retention_days: Mapped[int]
    changed_at_ms: Mapped[int]


class PolicyRow(MainBase):
    """One version of a household's consent policy, with the bytes it came in.

    Attributes:
        body_sha256: SHA-256 of the body, which the household's statement names.
        signed: The container as JSON bytes.
    """

    __tablename__ = "consent_policy"
    __table_args__ = (
        CheckConstraint("version >= 1", name="version_from_one"),
        CheckConstraint("length(body_sha256) = 32", name="hash_length"),
        UniqueConstraint("body_sha256"),
    )

    household: Mapped[str] = mapped_column(ForeignKey("household.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    body_sha256: Mapped[bytes]
    signed: Mapped[bytes]
    received_at_ms: Mapped[int]


class InviteRow(MainBase):
    """An invitation to found one household.

    Attributes:
        household: What came of it; None while it is unused.
    """

    __tablename__ = "invite"
    __table_args__ = (CheckConstraint("length(code_sha256) = 32", name="hash_length"),)

    code_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    created_at_ms: Mapped[int]
    expires_at_ms: Mapped[int]
    household: Mapped[str | None] = mapped_column(ForeignKey("household.id"))


class ChallengeRow(MainBase):
    """A nonce that one sign-in may use; the row goes when it is used."""

    __tablename__ = "sign_in_challenge"
    __table_args__ = (Index(None, "expires_at_ms"),)

    nonce: Mapped[bytes] = mapped_column(primary_key=True)
    expires_at_ms: Mapped[int]


class SessionRow(MainBase):
    """A member signed in. It goes with the member.

    Attributes:
        signed_at_ms: When the client says it signed, by the client's clock.
    """

    __tablename__ = "session"
    __table_args__ = (
        ForeignKeyConstraint(
            ["household", "member"], ["member.household", "member.id"], ondelete="CASCADE"
        ),
        UniqueConstraint("code_sha256"),
        Index(None, "household", "member"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    code_sha256: Mapped[bytes]
    household: Mapped[str]
    member: Mapped[str]
    signed_at_ms: Mapped[int]
    created_at_ms: Mapped[int]
    expires_at_ms: Mapped[int]


class TokenRow(MainBase):
    """A member's token for a program. It goes with the member.

    Attributes:
        scopes: Their names, sorted, a space between.
    """

    __tablename__ = "token"
    __table_args__ = (
        ForeignKeyConstraint(
            ["household", "member"], ["member.household", "member.id"], ondelete="CASCADE"
        ),
        CheckConstraint("length(name) between 1 and 64", name="name_length"),
        UniqueConstraint("code_sha256"),
        Index(None, "household", "member"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    code_sha256: Mapped[bytes]
    household: Mapped[str]
    member: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[str]
    created_at_ms: Mapped[int]
    expires_at_ms: Mapped[int]


class KeyringRow(VaultBase):
    """One holder's keyring file, under the statement it came with.

    It is written before that statement and served only through it, so a file
    whose statement never arrived is never seen.

    Attributes:
        statement_sha256: Hash of that statement's body.
        holder: A member's id, or ``recovery``.
        file: An age file that only its holder can open.
    """

    __tablename__ = "keyring"
    __table_args__ = (CheckConstraint("length(statement_sha256) = 32", name="hash_length"),)

    statement_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)
    household: Mapped[str]
    file: Mapped[bytes]
    written_at_ms: Mapped[int]
