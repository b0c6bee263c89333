"""shares of accounts: webhooks by account, unfinished uploads, and storage"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

PENDING = sa.text("state = 'pending'")


def upgrade() -> None:
    op.drop_index("ix_webhook_deliveries_due", "webhook_deliveries")
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["account_id", "next_attempt_at", "receiver"],
        sqlite_where=PENDING,
        postgresql_where=PENDING,
    )
