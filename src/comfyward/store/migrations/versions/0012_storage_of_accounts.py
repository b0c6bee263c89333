"""the storage of each account, and its limits"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

IS_NAMED = sa.text("run_id IS NULL")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("storage_limits", sa.Text(), server_default="{}", nullable=False))
    op.add_column("blob_uses", sa.Column("account_id", sa.String(length=21), server_default="", nullable=False))
    op.add_column("blob_uses", sa.Column("size", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(
        "UPDATE blob_uses SET"
        " size = COALESCE((SELECT size FROM blobs WHERE blobs.digest = blob_uses.digest), 0),"
        " account_id = COALESCE((SELECT account_id FROM runs WHERE runs.id = run_id AND deleted_at IS NULL), '')"
    )
    op.create_index("ix_blob_uses_stored", "blob_uses", ["account_id", "digest", "size"])
    op.create_index("ix_uploads_account_id", "uploads", ["account_id"])
    op.create_index(
        "ix_files_stored",
        "files",
        ["account_id", "digest", "size", "path"],
        sqlite_where=IS_NAMED,
        postgresql_where=IS_NAMED,
    )
