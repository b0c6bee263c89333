"""archives of what packs bring for the editor"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "environment_web_files",
        sa.Column("environment", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=60), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("is_shared", sa.Integer(), nullable=False),
        sa.Column("listing", sa.Text(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("environment", "pool", "digest", name=op.f("pk_environment_web_files")),
    )
    op.create_index(op.f("ix_environment_web_files_digest"), "environment_web_files", ["digest"], unique=False)
