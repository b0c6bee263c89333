"""trials that learn which files packs fetch"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "environment_learnings",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("environment_id", sa.String(length=21), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("hosts", sa.Text(), server_default="[]", nullable=False),
        sa.Column("graph", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("worker", sa.String(length=60), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("found", sa.Text()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.CheckConstraint(
            "state IN ('waiting', 'learning', 'done', 'failed', 'cancelled')",
            name=op.f("ck_environment_learnings_state"),
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name=op.f("fk_environment_learnings_environment_id_environments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment_learnings")),
    )
    op.create_index("ix_environment_learnings_environment_id", "environment_learnings", ["environment_id"])
