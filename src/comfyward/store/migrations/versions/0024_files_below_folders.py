"""an index for the files below a folder"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    path = sa.text("path" if is_sqlite else 'path COLLATE "C"')
    condition = sa.text("run_id IS NULL")
    op.create_index("ix_files_below", "files", ["account_id", path], sqlite_where=condition, postgresql_where=condition)
