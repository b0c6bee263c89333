"""the bytes that workflows take in the database"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

TEXTS = ("graph", "editor_graph", "form", "description")


def upgrade() -> None:
    length = "octet_length({})" if op.get_bind().dialect.name == "postgresql" else "length(CAST({} AS BLOB))"
    op.execute(f"UPDATE workflows SET size = {' + '.join(f'coalesce({length.format(name)}, 0)' for name in TEXTS)}")
    op.create_index("ix_workflows_stored", "workflows", ["account_id", "size"])
    is_deleted = sa.text("deleted_at IS NOT NULL")
    columns = ["account_id", "deleted_at"]
    op.create_index("ix_workflows_deleted", "workflows", columns, sqlite_where=is_deleted, postgresql_where=is_deleted)
