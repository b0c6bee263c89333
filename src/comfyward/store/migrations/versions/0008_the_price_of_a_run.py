"""the price of a run's GPU time, fixed when the run is assigned"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("credits_per_s", sa.Float(), server_default="0", nullable=False))
