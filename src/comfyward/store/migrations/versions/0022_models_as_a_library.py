"""models are shared and described, their use is counted, their deletion can be undone"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from comfyward.workflows.model_names import model_names

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

BATCH = 200


def upgrade() -> None:
    op.create_table(
        "shared_files",
        sa.Column("path", sa.String(length=1100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("about", sa.Text(), server_default="{}", nullable=False),
        sa.Column("shared_by", sa.String(length=21), nullable=False),
        sa.Column("shared_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_shared_files")),
    )
    op.create_index(op.f("ix_shared_files_digest"), "shared_files", ["digest"], unique=False)
    op.create_table(
        "model_facts",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_model_facts")),
    )
    op.create_table(
        "model_uses",
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("path", sa.String(length=1100), nullable=False),
        sa.Column("digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("workflow_id", sa.String(length=21), nullable=False),
        sa.Column("run_count", sa.Integer(), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=False),
        sa.Column("last_run_id", sa.String(length=21), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "path", "digest", "workflow_id", name=op.f("pk_model_uses")),
    )
    op.create_index(op.f("ix_model_uses_digest"), "model_uses", ["digest"], unique=False)
    op.create_table(
        "workflow_models",
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("workflow_id", sa.String(length=21), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "name", "workflow_id", name=op.f("pk_workflow_models")),
    )
    op.create_index(op.f("ix_workflow_models_name"), "workflow_models", ["name"], unique=False)
    op.create_index(op.f("ix_workflow_models_workflow_id"), "workflow_models", ["workflow_id"], unique=False)
    op.create_table(
        "deleted_models",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=21), nullable=False),
        sa.Column("path", sa.String(length=1100), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("content_type", sa.String(length=200), nullable=False),
        sa.Column("about", sa.Text(), server_default="{}", nullable=False),
        sa.Column("is_own", sa.Integer(), nullable=False),
        sa.Column("is_shared", sa.Integer(), nullable=False),
        sa.Column("link", sa.Text()),
        sa.Column("deleted_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deleted_models")),
    )
    for column in ("account_id", "digest", "deleted_at"):
        op.create_index(op.f(f"ix_deleted_models_{column}"), "deleted_models", [column], unique=False)
    _name_models_of_workflows()
    _count_uses_of_files()


def _name_models_of_workflows() -> None:
    """A workflow at a time: graphs are large."""
    conn = op.get_bind()
    for workflow_id, account_id in conn.execute(sa.text("SELECT id, account_id FROM workflows")).all():
        row = conn.execute(
            sa.text("SELECT graph, editor_graph FROM workflows WHERE id = :id"), {"id": workflow_id}
        ).one()
        names = model_names(row[0]) | model_names(row[1])
        if names:
            conn.execute(
                sa.text("INSERT INTO workflow_models (name, account_id, workflow_id) VALUES (:name, :account, :id)"),
                [{"name": name, "account": account_id, "id": workflow_id} for name in sorted(names)],
            )


def _count_uses_of_files() -> None:
    """Runs of before count for the models that their accounts still have."""
    op.execute(
        "INSERT INTO model_uses (account_id, path, digest, workflow_id, run_count, last_used_at, last_run_id)"
        " SELECT files.account_id, files.path, files.digest, runs.workflow_id, count(*), max(runs.created_at),"
        " max(runs.id) FROM files"
        " JOIN blob_uses ON blob_uses.digest = files.digest AND blob_uses.account_id = files.account_id"
        " JOIN runs ON runs.id = blob_uses.run_id"
        " WHERE files.path LIKE '/models/%' AND files.run_id IS NULL"
        " GROUP BY files.account_id, files.path, files.digest, runs.workflow_id"
    )
