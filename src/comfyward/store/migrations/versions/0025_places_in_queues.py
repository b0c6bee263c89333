"""an index for the places of runs in the queues of their pools"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    condition = sa.text("state = 'queued'")
    columns = ["pool", "priority", "turn", "queued_at", "id"]
    op.create_index("ix_runs_places", "runs", columns, sqlite_where=condition, postgresql_where=condition)
