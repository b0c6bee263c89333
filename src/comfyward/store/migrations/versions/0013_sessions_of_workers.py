"""calls of a worker are bound to the session that it began, not only to its token"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("session", sa.String(length=64), server_default="", nullable=False))
