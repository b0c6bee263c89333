"""runs that are recalled from a worker for an idle one"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("recalled_at", sa.BigInteger()))
    op.add_column("runs", sa.Column("recalled_for", sa.String(60)))
    is_staged = sa.text("state = 'assigned' AND staged_at IS NOT NULL")
    op.create_index("ix_runs_staged", "runs", ["pool", "staged_at"], sqlite_where=is_staged, postgresql_where=is_staged)
