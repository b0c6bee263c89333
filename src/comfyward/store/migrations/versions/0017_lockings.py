"""servers lock and update environments, revisions promote themselves, workflows are part of trials"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0018"
branch_labels = None
depends_on = None

UNFINISHED = sa.text("finished_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "environment_lockings",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("environment_id", sa.String(length=21), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("comfyui", sa.String(length=100), server_default="", nullable=False),
        sa.Column("next", sa.String(length=10), server_default="", nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("step", sa.Text(), server_default="", nullable=False),
        sa.Column("part", sa.Float()),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("hint", sa.Text(), server_default="", nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_new", sa.Integer(), server_default="0", nullable=False),
        sa.Column("found", sa.Text()),
        sa.Column("server", sa.String(length=21), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("renewed_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.CheckConstraint(
            "state IN ('waiting', 'locking', 'proposed', 'done', 'failed', 'cancelled')",
            name=op.f("ck_environment_lockings_state"),
        ),
        sa.ForeignKeyConstraint(
            ["environment_id"], ["environments.id"], name=op.f("fk_environment_lockings_environment_id_environments")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_environment_lockings")),
    )
    op.create_index(
        "ix_environment_lockings_unfinished",
        "environment_lockings",
        ["environment_id"],
        unique=True,
        sqlite_where=UNFINISHED,
        postgresql_where=UNFINISHED,
    )
    op.create_table(
        "environment_rehearsals",
        sa.Column("environment_id", sa.String(length=21), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("workflow_id", sa.String(length=21), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("former_run_id", sa.String(length=21), server_default="", nullable=False),
        sa.Column("run_id", sa.String(length=21), server_default="", nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("difference", sa.Float()),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.CheckConstraint(
            "state IN ('running', 'same', 'different', 'failed', 'skipped')",
            name=op.f("ck_environment_rehearsals_state"),
        ),
        sa.PrimaryKeyConstraint("environment_id", "number", "workflow_id", name=op.f("pk_environment_rehearsals")),
    )
    op.add_column("environments", sa.Column("auto_promote", sa.Integer(), server_default="0", nullable=False))
    op.add_column("environment_revisions", sa.Column("promotes", sa.Integer(), server_default="0", nullable=False))
    op.add_column("workflows", sa.Column("in_trials", sa.Integer(), server_default="0", nullable=False))
