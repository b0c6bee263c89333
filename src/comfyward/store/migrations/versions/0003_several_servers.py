"""several servers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM uploads")  # their pieces lie on one server's disk; whoever was uploading begins again
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.add_column(sa.Column("offset", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("pieces", sa.Text(), server_default="[]", nullable=False))
    with op.batch_alter_table("imports", schema=None) as batch_op:
        batch_op.add_column(sa.Column("done_bytes", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("total_bytes", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("blobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("removing_at", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("name", sa.String(length=255), server_default="", nullable=False))
    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("drain_at", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("worker_tokens", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pool", sa.String(length=60), nullable=True))
        batch_op.add_column(sa.Column("role", sa.String(length=20), server_default="worker", nullable=False))
        batch_op.create_check_constraint(op.f("ck_worker_tokens_role"), "role IN ('worker', 'fleet')")
        batch_op.add_column(sa.Column("expires_at", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("last_used_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "fleets",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("pools", sa.Text(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_fleets")),
    )
    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("weight", sa.Float(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("max_running", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("max_running_by_pool", sa.Text(), server_default="{}", nullable=False))
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("max_running", sa.Integer(), nullable=True))
    # Without batch mode: it would copy the table, which is the largest, and SQLite can add columns to one that stands.
    op.add_column("runs", sa.Column("fallback_pool", sa.String(length=60), nullable=True))
    op.add_column("runs", sa.Column("start_by", sa.BigInteger(), nullable=True))
    is_queued = sa.text("state = 'queued'")
    for name, columns in (("ix_runs_oldest", ["pool", "queued_at"]), ("ix_runs_start_by", ["start_by"])):
        op.create_index(name, "runs", columns, unique=False, sqlite_where=is_queued, postgresql_where=is_queued)
    op.create_table(
        "mirrors",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_mirrors")),
    )
    op.create_index("ix_mirrors_digest", "mirrors", ["digest"], unique=False)
