"""workers, fleets, catalogs and mirrors are bound to the token that brought them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("token", sa.String(length=64), server_default="", nullable=False))
    op.add_column("workers", sa.Column("catalog_digest", sa.String(length=64), server_default="", nullable=False))
    op.add_column("workers", sa.Column("catalog_problem", sa.Text(), nullable=True))
    op.add_column("worker_tokens", sa.Column("made_by", sa.String(length=64), nullable=True))
    op.add_column("fleets", sa.Column("token", sa.String(length=64), server_default="", nullable=False))
    _remake_mirrors()
    _remake_catalogs()


def _remake_mirrors() -> None:
    """It is not known who brought the existing copies: they are forgotten, and fetched from their origins again."""
    op.drop_index("ix_mirrors_digest", "mirrors")
    op.drop_table("mirrors")
    op.create_table(
        "mirrors",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=60), server_default="", nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "pool", name=op.f("pk_mirrors")),
    )
    op.create_index("ix_mirrors_digest", "mirrors", ["digest"], unique=False)


def _remake_catalogs() -> None:
    """The catalogs so far stay in use until workers send theirs."""
    columns = "environment, digest, body, updated_at"
    kept = [row._asdict() for row in op.get_bind().execute(sa.text(f"SELECT {columns} FROM catalogs"))]
    op.drop_table("catalogs")
    made = op.create_table(
        "catalogs",
        sa.Column("environment", sa.String(length=60), nullable=False),
        sa.Column("pool", sa.String(length=60), server_default="", nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("is_shared", sa.Integer(), server_default="1", nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("environment", "pool", "digest", name=op.f("pk_catalogs")),
    )
    if kept:
        op.bulk_insert(made, kept)
