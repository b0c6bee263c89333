"""accounts keep secrets for the hosts of their files"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "named_secrets",
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("hosts", sa.Text(), nullable=False),
        sa.Column("header", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=12), nullable=False),
        sa.Column("encrypted", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("account_id", "name", name=op.f("pk_named_secrets")),
    )
    op.create_index(op.f("ix_named_secrets_key_id"), "named_secrets", ["key_id"], unique=False)
