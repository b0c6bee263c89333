"""runs and workflows name an environment, revisions become current, workers report what they have of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

ELSEWHERE = sa.text("state = 'queued' AND environment != 'default'")


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":  # for which a length means nothing
        for table in ("runs", "catalogs"):
            op.alter_column(table, "environment", type_=sa.String(length=64), existing_nullable=False)
    op.add_column("runs", sa.Column("environment_name", sa.String(length=120), server_default="", nullable=False))
    op.add_column("runs", sa.Column("environment_revision", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_runs_environments",
        "runs",
        ["pool", "environment"],
        sqlite_where=ELSEWHERE,
        postgresql_where=ELSEWHERE,
    )
    op.add_column("workflows", sa.Column("environment", sa.String(length=120), server_default="", nullable=False))
    op.add_column("environments", sa.Column("current", sa.Integer(), server_default="0", nullable=False))
    op.add_column("environments", sa.Column("former", sa.Text(), server_default="[]", nullable=False))
    op.add_column("environment_revisions", sa.Column("asked_at", sa.BigInteger()))
    op.add_column("workers", sa.Column("target", sa.String(length=60), server_default="", nullable=False))
    op.create_table(
        "environment_trials",
        sa.Column("worker_id", sa.String(length=60), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("is_shared", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("target", sa.String(length=60), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("step", sa.Text(), server_default="", nullable=False),
        sa.Column("part", sa.Float()),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("hint", sa.Text(), server_default="", nullable=False),
        sa.Column("catalog_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("report", sa.Text()),
        sa.Column("picture", sa.Text()),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id", "digest", name=op.f("pk_environment_trials")),
    )
    op.create_index(op.f("ix_environment_trials_digest"), "environment_trials", ["digest"], unique=False)
