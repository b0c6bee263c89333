"""deliveries of webhooks by their end"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    name, is_over = "ix_webhook_deliveries_over", sa.text("finished_at IS NOT NULL")
    columns = ["finished_at"]
    op.create_index(name, "webhook_deliveries", columns, sqlite_where=is_over, postgresql_where=is_over)
