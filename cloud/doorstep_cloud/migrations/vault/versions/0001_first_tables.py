"""The first tables of the vault database."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# 64 bits everywhere; on SQLite only a column named INTEGER counts rows by itself.
INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table of the vault database."""
    op.create_table(
        "clip_envelope",
        sa.Column("clip", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("written_at_ms", INT, nullable=False),
        sa.PrimaryKeyConstraint("clip", "object", name=op.f("pk_clip_envelope")),
    )
    op.create_table(
        "keyring",
        sa.Column("statement_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("household", sa.Text(), nullable=False),
        sa.Column("file", sa.LargeBinary(), nullable=False),
        sa.Column("written_at_ms", INT, nullable=False),
        sa.CheckConstraint("length(statement_sha256) = 32", name=op.f("ck_keyring_hash_length")),
        sa.PrimaryKeyConstraint("statement_sha256", "holder", name=op.f("pk_keyring")),
    )
