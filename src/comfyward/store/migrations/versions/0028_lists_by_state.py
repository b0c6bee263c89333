"""runs of one state in the order of their creation, for lists"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


COLUMNS = ["account_id", "state", "created_at", "id"]
UNFINISHED, OVER = sa.text("finished_at IS NULL"), sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_runs_unfinished", "runs")
        op.create_index("ix_runs_unfinished", "runs", COLUMNS, sqlite_where=UNFINISHED)
        op.create_index("ix_runs_over", "runs", COLUMNS, sqlite_where=OVER)
    else:
        with op.get_context().autocommit_block():
            _beside_what_is_written()


def _beside_what_is_written() -> None:
    """Millions of runs are put into the indexes while servers write others. One that was interrupted begins again."""
    for name, condition in (("ix_runs_unfinished_by_state", UNFINISHED), ("ix_runs_over", OVER)):
        op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        op.create_index(name, "runs", COLUMNS, postgresql_where=condition, postgresql_concurrently=True)
    op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_runs_unfinished")
    op.execute("ALTER INDEX ix_runs_unfinished_by_state RENAME TO ix_runs_unfinished")
