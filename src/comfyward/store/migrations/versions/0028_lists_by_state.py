"""runs of one state in the order of their creation, for lists"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_runs_unfinished", "runs")
    for name, condition in (("ix_runs_unfinished", "finished_at IS NULL"), ("ix_runs_over", "finished_at IS NOT NULL")):
        where = sa.text(condition)
        columns = ["account_id", "state", "created_at", "id"]
        op.create_index(name, "runs", columns, sqlite_where=where, postgresql_where=where)
