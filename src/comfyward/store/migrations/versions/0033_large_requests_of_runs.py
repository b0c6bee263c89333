"""runs with large requests, by their account"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_large, columns = sa.text("request_bytes IS NOT NULL"), ["account_id", "request_bytes"]
    op.create_index("ix_runs_large", "runs", columns, sqlite_where=is_large, postgresql_where=is_large)
