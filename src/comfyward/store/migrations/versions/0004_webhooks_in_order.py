"""webhooks in order"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhook_deliveries", sa.Column("seq", sa.Integer(), server_default="0", nullable=False))
    op.add_column("webhook_deliveries", sa.Column("receiver", sa.String(300), server_default="", nullable=False))
    is_pending = sa.text("state = 'pending'")
    op.create_index(
        "ix_webhook_deliveries_waiting",
        "webhook_deliveries",
        ["run_id", "seq"],
        unique=False,
        sqlite_where=is_pending,
        postgresql_where=is_pending,
    )
    _place_the_waiting(op.get_bind())


def _place_the_waiting(conn: sa.Connection) -> None:
    """Deliveries that wait get their place among those of their run; the others are never asked for it."""
    waiting = conn.execute(sa.text("SELECT id, url, snapshot FROM webhook_deliveries WHERE state = 'pending'"))
    for row in waiting.all():
        values = {"id": row.id, "seq": json.loads(row.snapshot)["event_seq"], "receiver": urlsplit(row.url).netloc}
        conn.execute(
            sa.text("UPDATE webhook_deliveries SET seq = :seq, receiver = :receiver WHERE id = :id"),
            {**values, "receiver": values["receiver"][:300]},
        )
