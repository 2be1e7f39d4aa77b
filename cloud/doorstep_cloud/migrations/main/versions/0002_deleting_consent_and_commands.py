"""What deleting, retention, the consent policy and commands to doorbells need."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# 64 bits everywhere; on SQLite only a column named INTEGER counts rows by itself.
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add to what 0001 made; nothing that is there changes."""
    op.add_column("clip", sa.Column("deletion_receipt", sa.LargeBinary(), nullable=True))
    op.add_column("clip", sa.Column("objects_deleted_at_ms", INT, nullable=True))
    op.create_index(op.f("ix_clip_deleted_at_ms"), "clip", ["deleted_at_ms"], unique=False)
    op.create_table(
        "household_settings",
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("retention_days", INT, nullable=False),
        sa.Column("changed_at_ms", INT, nullable=False),
        sa.CheckConstraint(
            "retention_days between 1 and 60", name=op.f("ck_household_settings_days_bounded")
        ),
        sa.ForeignKeyConstraint(
            ["household"], ["household.id"], name=op.f("fk_household_settings_household")
        ),
        sa.PrimaryKeyConstraint("household", name=op.f("pk_household_settings")),
    )
    op.create_table(
        "consent_policy",
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("version", INT, nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_ms", INT, nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_consent_policy_version_from_one")),
        sa.CheckConstraint("length(body_sha256) = 32", name=op.f("ck_consent_policy_hash_length")),
        sa.ForeignKeyConstraint(
            ["household"], ["household.id"], name=op.f("fk_consent_policy_household")
        ),
        sa.PrimaryKeyConstraint("household", "version", name=op.f("pk_consent_policy")),
        sa.UniqueConstraint("body_sha256", name=op.f("uq_consent_policy_body_sha256")),
    )
    op.create_table(
        "device_command",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("counter", INT, nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at_ms", INT, nullable=False),
        sa.Column("expires_at_ms", INT, nullable=False),
        sa.Column("answered_at_ms", INT, nullable=True),
        sa.Column("is_done", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("counter >= 1", name=op.f("ck_device_command_counter_from_one")),
        sa.CheckConstraint("name in ('delete')", name=op.f("ck_device_command_name_known")),
        sa.CheckConstraint(
            "(answered_at_ms is null) = (is_done is null)",
            name=op.f("ck_device_command_answered_or_not"),
        ),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_device_command_device")),
        sa.PrimaryKeyConstraint("device", "counter", name=op.f("pk_device_command")),
    )
    op.create_table(
        "job",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("passed_at_ms", INT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job")),
    )
