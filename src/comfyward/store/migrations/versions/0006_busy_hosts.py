"""busy hosts"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

REASONS = (
    "end_reason IS NULL OR end_reason IN ('completed', 'cancelled', 'timeout', 'validation', 'missing_node', "
    "'missing_model', 'download', 'host_busy', 'node_error', 'over_limit', 'insufficient_credit', 'oom', 'gpu_fault', "
    "'comfyui_crashed', 'worker_lost', 'storage_full', 'internal')"
)


def upgrade() -> None:
    """A run may end because a host asked to come again later. SQLite copies the table for that, once."""
    conn = op.get_bind()
    indexes = _indexes(conn) if conn.dialect.name == "sqlite" else {}
    for name in indexes:
        op.drop_index(name, "runs")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_runs_end_reason"), type_="check")
        batch_op.create_check_constraint(op.f("ck_runs_end_reason"), REASONS)
    for definition in indexes.values():
        op.execute(definition)


def _indexes(conn: sa.Connection) -> dict[str, str]:
    """As they were written: a copied table has them without their order (DESC)."""
    question = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'runs' AND sql IS NOT NULL"
    return {row.name: row.sql for row in conn.execute(sa.text(question))}
