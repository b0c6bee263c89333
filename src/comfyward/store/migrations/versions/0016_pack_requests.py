"""accounts ask for packs that their workflows need"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pack_requests",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("workflow_id", sa.String(length=21), nullable=False),
        sa.Column("packs", sa.Text(), nullable=False),
        sa.Column("comfyui", sa.Text(), server_default="", nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("environment", sa.String(length=100), server_default="", nullable=False),
        sa.Column("reply", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger()),
        sa.CheckConstraint("state IN ('waiting', 'accepted', 'declined')", name=op.f("ck_pack_requests_state")),
        sa.CheckConstraint("(state = 'waiting') = (decided_at IS NULL)", name=op.f("ck_pack_requests_decided")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_pack_requests_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pack_requests")),
    )
    op.create_index(op.f("ix_pack_requests_account_id"), "pack_requests", ["account_id"], unique=False)
    op.create_index("ix_pack_requests_state", "pack_requests", ["state", "created_at"], unique=False)
