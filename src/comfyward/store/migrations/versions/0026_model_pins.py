"""models that workers keep in memory"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_pins",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("pool", sa.String(length=60), nullable=False),
        sa.Column("path", sa.String(length=1100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("workers", sa.Integer(), nullable=False),
        sa.Column("workflow_id", sa.String(length=21), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_pins")),
        sa.UniqueConstraint("pool", "path", "workflow_id", name=op.f("uq_model_pins_pool_path_workflow_id")),
    )
