"""labels, tags and metadata of files"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("files", sa.Column("label", sa.String(512), server_default="", nullable=False))
    op.add_column("files", sa.Column("tags", sa.Text(), server_default="[]", nullable=False))
    op.add_column("files", sa.Column("about", sa.Text(), server_default="{}", nullable=False))
