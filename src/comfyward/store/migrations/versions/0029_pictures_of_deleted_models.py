"""pictures that are deleted with their models

The deletion of a model, by an older server, has none beside it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("deleted_models", sa.Column("beside", sa.String(length=36), nullable=False, server_default=""))
