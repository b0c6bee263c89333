"""archives of packs that were uploaded"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "environment_trees",
        sa.Column("tree", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tree", name=op.f("pk_environment_trees")),
    )
    op.create_index(op.f("ix_environment_trees_digest"), "environment_trees", ["digest"], unique=False)
