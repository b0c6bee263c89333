"""the head of the queue is read for each environment"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    """Nobody who asks for one environment reads past the runs that wait for another, however many."""
    for name, *columns in (
        ("ix_runs_queue", sa.text("priority DESC"), "turn", "queued_at", "id"),
        ("ix_runs_oldest", "queued_at"),
    ):
        op.drop_index(name, "runs")
        op.create_index(name, "runs", ["pool", "environment", *columns], sqlite_where=QUEUED, postgresql_where=QUEUED)
