"""The first tables of the main database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# 64 bits everywhere; on SQLite only a column named INTEGER counts rows by itself.
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table of the main database."""
    op.create_table(
        "clip",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("manifest_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("started_at_ms", INT, nullable=False),
        sa.Column("ended_at_ms", INT, nullable=False),
        sa.Column("pre_roll_ms", INT, nullable=False),
        sa.Column("part", INT, nullable=False),
        sa.Column("is_last", sa.Boolean(), nullable=False),
        sa.Column("is_truncated", sa.Boolean(), nullable=False),
        sa.Column("clock_synced", sa.Boolean(), nullable=False),
        sa.Column("announced_at_ms", INT, nullable=False),
        sa.Column("stored_at_ms", INT, nullable=True),
        sa.Column("deleted_at_ms", INT, nullable=True),
        sa.CheckConstraint("kind in ('ring', 'motion')", name=op.f("ck_clip_kind_known")),
        sa.CheckConstraint("length(manifest_sha256) = 32", name=op.f("ck_clip_hash_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clip")),
    )
    op.create_index(op.f("ix_clip_device_seq"), "clip", ["device", "seq"], unique=False)
    op.create_index(
        op.f("ix_clip_household_started_at_ms_id"),
        "clip",
        ["household", "started_at_ms", "id"],
        unique=False,
    )
    op.create_table(
        "clip_event",
        sa.Column("clip", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("clip", "event", name=op.f("pk_clip_event")),
    )
    op.create_index(
        op.f("ix_clip_event_device_event"), "clip_event", ["device", "event"], unique=False
    )
    op.create_table(
        "event",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("at_ms", INT, nullable=False),
        sa.Column("clock_synced", sa.Boolean(), nullable=False),
        sa.Column("received_at_ms", INT, nullable=False),
        sa.Column("place", INT, nullable=False),
        sa.CheckConstraint("alert in ('now', 'digest', 'none')", name=op.f("ck_event_alert_known")),
        sa.CheckConstraint("kind in ('ring', 'motion')", name=op.f("ck_event_kind_known")),
        sa.PrimaryKeyConstraint("device", "id", name=op.f("pk_event")),
    )
    op.create_index(
        op.f("ix_event_household_at_ms_id"), "event", ["household", "at_ms", "id"], unique=False
    )
    op.create_index(op.f("ix_event_household_place"), "event", ["household", "place"], unique=True)
    op.create_table(
        "household",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", INT, nullable=False),
        sa.CheckConstraint("length(id) = 26", name=op.f("ck_household_id_length")),
        sa.CheckConstraint("length(root) = 32", name=op.f("ck_household_root_length")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_household")),
        sa.UniqueConstraint("root", name=op.f("uq_household_root")),
    )
    op.create_table(
        "sign_in_challenge",
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at_ms", INT, nullable=False),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_sign_in_challenge")),
    )
    op.create_index(
        op.f("ix_sign_in_challenge_expires_at_ms"),
        "sign_in_challenge",
        ["expires_at_ms"],
        unique=False,
    )
    op.create_table(
        "claim",
        sa.Column("id", sa.LargeBinary(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("created_at_ms", INT, nullable=False),
        sa.Column("expires_at_ms", INT, nullable=False),
        sa.CheckConstraint("length(id) = 16", name=op.f("ck_claim_id_length")),
        sa.ForeignKeyConstraint(["household"], ["household.id"], name=op.f("fk_claim_household")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claim")),
    )
    op.create_index(op.f("ix_claim_household"), "claim", ["household"], unique=False)
    op.create_table(
        "clip_object",
        sa.Column("clip", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("length", INT, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("envelope_length", INT, nullable=False),
        sa.Column("envelope_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("stored_at_ms", INT, nullable=True),
        sa.Column("receipt", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint(
            "object in ('file', 'thumb', 'details')", name=op.f("ck_clip_object_object_known")
        ),
        sa.CheckConstraint(
            "(stored_at_ms is null) = (receipt is null)",
            name=op.f("ck_clip_object_stored_has_receipt"),
        ),
        sa.CheckConstraint("length(sha256) = 32", name=op.f("ck_clip_object_hash_length")),
        sa.ForeignKeyConstraint(["clip"], ["clip.id"], name=op.f("fk_clip_object_clip")),
        sa.PrimaryKeyConstraint("clip", "object", name=op.f("pk_clip_object")),
    )
    op.create_table(
        "invite",
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_ms", INT, nullable=False),
        sa.Column("expires_at_ms", INT, nullable=False),
        sa.Column("household", sa.Text(), nullable=True),
        sa.CheckConstraint("length(code_sha256) = 32", name=op.f("ck_invite_hash_length")),
        sa.ForeignKeyConstraint(["household"], ["household.id"], name=op.f("fk_invite_household")),
        sa.PrimaryKeyConstraint("code_sha256", name=op.f("pk_invite")),
    )
    op.create_table(
        "member",
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("sign_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_key_id", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("role in ('owner', 'viewer')", name=op.f("ck_member_role_known")),
        sa.CheckConstraint("length(sign_key) = 32", name=op.f("ck_member_key_length")),
        sa.ForeignKeyConstraint(["household"], ["household.id"], name=op.f("fk_member_household")),
        sa.PrimaryKeyConstraint("household", "id", name=op.f("pk_member")),
        sa.UniqueConstraint("sign_key_id", name=op.f("uq_member_sign_key_id")),
    )
    op.create_table(
        "statement",
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("seq", INT, nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.Column("epoch", INT, nullable=False),
        sa.Column("epoch_recipient", sa.Text(), nullable=False),
        sa.Column("has_keyring", sa.Boolean(), nullable=False),
        sa.Column("received_at_ms", INT, nullable=False),
        sa.CheckConstraint("length(body_sha256) = 32", name=op.f("ck_statement_hash_length")),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_statement_seq_from_zero")),
        sa.ForeignKeyConstraint(
            ["household"], ["household.id"], name=op.f("fk_statement_household")
        ),
        sa.PrimaryKeyConstraint("household", "seq", name=op.f("pk_statement")),
        sa.UniqueConstraint("body_sha256", name=op.f("uq_statement_body_sha256")),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("claim", sa.LargeBinary(), nullable=False),
        sa.Column("tls_key", sa.LargeBinary(), nullable=False),
        sa.Column("manifest_key", sa.LargeBinary(), nullable=False),
        sa.Column("age_recipient", sa.Text(), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.Text(), nullable=False),
        sa.Column("enrolled_at_ms", INT, nullable=False),
        sa.CheckConstraint("length(id) = 29", name=op.f("ck_device_id_length")),
        sa.CheckConstraint("length(mac) = 32", name=op.f("ck_device_mac_length")),
        sa.CheckConstraint("length(manifest_key) = 32", name=op.f("ck_device_manifest_key_length")),
        sa.ForeignKeyConstraint(["claim"], ["claim.id"], name=op.f("fk_device_claim")),
        sa.ForeignKeyConstraint(["household"], ["household.id"], name=op.f("fk_device_household")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device")),
        sa.UniqueConstraint("claim", name=op.f("uq_device_claim")),
        sa.UniqueConstraint("manifest_key", name=op.f("uq_device_manifest_key")),
    )
    op.create_index(op.f("ix_device_household"), "device", ["household"], unique=False)
    op.create_table(
        "session",
        sa.Column("id", INT, nullable=False),
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("signed_at_ms", INT, nullable=False),
        sa.Column("created_at_ms", INT, nullable=False),
        sa.Column("expires_at_ms", INT, nullable=False),
        sa.ForeignKeyConstraint(
            ["household", "member"],
            ["member.household", "member.id"],
            name=op.f("fk_session_household_member"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
        sa.UniqueConstraint("code_sha256", name=op.f("uq_session_code_sha256")),
    )
    op.create_index(
        op.f("ix_session_household_member"), "session", ["household", "member"], unique=False
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("code_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at_ms", INT, nullable=False),
        sa.Column("expires_at_ms", INT, nullable=False),
        sa.CheckConstraint("length(name) between 1 and 64", name=op.f("ck_token_name_length")),
        sa.ForeignKeyConstraint(
            ["household", "member"],
            ["member.household", "member.id"],
            name=op.f("fk_token_household_member"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.UniqueConstraint("code_sha256", name=op.f("uq_token_code_sha256")),
    )
    op.create_index(
        op.f("ix_token_household_member"), "token", ["household", "member"], unique=False
    )
    op.create_table(
        "presence",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("connections", INT, nullable=False),
        sa.Column("is_connected", sa.Boolean(), nullable=False),
        sa.Column("earlier_boots", sa.Text(), nullable=False),
        sa.Column("last_heard_at_ms", INT, nullable=False),
        sa.Column("agent", sa.Text(), nullable=True),
        sa.Column("health", sa.Text(), nullable=True),
        sa.Column("health_at_ms", INT, nullable=True),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_presence_device")),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_presence")),
    )
