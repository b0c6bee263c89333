"""columns for the bytes that workflows and requests of runs take in the database, and for runs that came with keys

Runs of before count nothing: only new requests are bounded.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workflows", sa.Column("size", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("request_bytes", sa.BigInteger()))
    op.add_column("runs", sa.Column("has_secrets", sa.Integer(), nullable=False, server_default="0"))
