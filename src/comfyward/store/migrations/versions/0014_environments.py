"""environments, their revisions and locks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "environments",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("newest", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environments")),
        sa.UniqueConstraint("name", name=op.f("uq_environments_name")),
    )
    op.create_table(
        "environment_revisions",
        sa.Column("environment_id", sa.String(length=21), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name=op.f("fk_environment_revisions_environment_id")
        ),
        sa.PrimaryKeyConstraint("environment_id", "number", name=op.f("pk_environment_revisions")),
    )
    op.create_table(
        "environment_locks",
        sa.Column("environment_id", sa.String(length=21), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("target", sa.String(length=60), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("lock", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["environment_id", "number"],
            ["environment_revisions.environment_id", "environment_revisions.number"],
            name=op.f("fk_environment_locks_environment_id_number"),
        ),
        sa.PrimaryKeyConstraint("environment_id", "number", "target", name=op.f("pk_environment_locks")),
    )
    op.create_index(op.f("ix_environment_locks_digest"), "environment_locks", ["digest"], unique=False)
