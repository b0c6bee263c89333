"""the website"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM sessions")  # they have no id to be ended by; whoever had one enters again
    op.create_table(
        "imports",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("path", sa.String(length=1100), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'done', 'failed')", name=op.f("ck_imports_state")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_imports_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_imports")),
    )
    with op.batch_alter_table("imports", schema=None) as batch_op:
        batch_op.create_index("ix_imports_account_id_created_at", ["account_id", "created_at"], unique=False)
        batch_op.create_index(
            "ix_imports_waiting",
            ["created_at"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )

    op.create_table(
        "login_links",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_login_links_account_id")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_login_links")),
    )
    with op.batch_alter_table("login_links", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_login_links_account_id"), ["account_id"], unique=False)

    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=21), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("path", sa.String(length=1100), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_uploads_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_uploads_created_at"), ["created_at"], unique=False)

    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("former_webhook_secret", sa.String(length=100), nullable=True))
        batch_op.add_column(sa.Column("former_webhook_secret_until", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("password_hash", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("identity", sa.String(length=500), nullable=True))
        batch_op.add_column(sa.Column("deleted_at", sa.BigInteger(), nullable=True))
        batch_op.create_index("ix_accounts_identity", ["identity"], unique=True)

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("id", sa.String(length=21), server_default="", nullable=False))
        batch_op.add_column(sa.Column("device", sa.String(length=300), server_default="", nullable=False))
        batch_op.add_column(sa.Column("seen_at", sa.BigInteger(), server_default="0", nullable=False))

    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.add_column(sa.Column("vitals", sa.Text(), server_default="{}", nullable=False))
        batch_op.add_column(sa.Column("paused_at", sa.BigInteger(), nullable=True))

    with op.batch_alter_table("workflows", schema=None) as batch_op:
        batch_op.add_column(sa.Column("form", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("parent_workflow_id", sa.String(length=21), nullable=True))
        batch_op.create_index(
            "ix_workflows_public",
            ["updated_at"],
            unique=False,
            sqlite_where=sa.text("visibility = 'PUBLIC'"),
            postgresql_where=sa.text("visibility = 'PUBLIC'"),
        )


def downgrade() -> None:
    with op.batch_alter_table("workflows", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_workflows_public",
            sqlite_where=sa.text("visibility = 'PUBLIC'"),
            postgresql_where=sa.text("visibility = 'PUBLIC'"),
        )
        batch_op.drop_column("parent_workflow_id")
        batch_op.drop_column("form")

    with op.batch_alter_table("workers", schema=None) as batch_op:
        batch_op.drop_column("paused_at")
        batch_op.drop_column("vitals")

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_column("seen_at")
        batch_op.drop_column("device")
        batch_op.drop_column("id")

    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.drop_index("ix_accounts_identity")
        batch_op.drop_column("deleted_at")
        batch_op.drop_column("identity")
        batch_op.drop_column("password_hash")
        batch_op.drop_column("former_webhook_secret_until")
        batch_op.drop_column("former_webhook_secret")

    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_uploads_created_at"))

    op.drop_table("uploads")
    with op.batch_alter_table("login_links", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_login_links_account_id"))

    op.drop_table("login_links")
    with op.batch_alter_table("imports", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_imports_waiting",
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )
        batch_op.drop_index("ix_imports_account_id_created_at")

    op.drop_table("imports")
