"""the bytes that workflows and requests of runs take in the database, deliveries of webhooks by their end, and which
runs came with keys

Runs of before count nothing: only new requests are bounded.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

TEXTS = ("graph", "editor_graph", "form", "description")


def upgrade() -> None:
    op.add_column("workflows", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    length = "octet_length({})" if op.get_bind().dialect.name == "postgresql" else "length(CAST({} AS BLOB))"
    op.execute(f"UPDATE workflows SET size = {' + '.join(f'coalesce({length.format(name)}, 0)' for name in TEXTS)}")
    op.create_index("ix_workflows_stored", "workflows", ["account_id", "size"])
    is_deleted = sa.text("deleted_at IS NOT NULL")
    columns = ["account_id", "deleted_at"]
    op.create_index("ix_workflows_deleted", "workflows", columns, sqlite_where=is_deleted, postgresql_where=is_deleted)
    is_over = sa.text("finished_at IS NOT NULL")
    op.create_index(
        "ix_webhook_deliveries_over",
        "webhook_deliveries",
        ["finished_at"],
        sqlite_where=is_over,
        postgresql_where=is_over,
    )
    op.add_column("runs", sa.Column("request_bytes", sa.BigInteger()))
    op.add_column("runs", sa.Column("has_secrets", sa.Integer(), nullable=False, server_default="0"))
    is_large = sa.text("request_bytes IS NOT NULL")
    columns = ["account_id", "request_bytes"]
    op.create_index("ix_runs_large", "runs", columns, sqlite_where=is_large, postgresql_where=is_large)
