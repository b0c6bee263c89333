"""Saved workflows, and what their graphs name."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from comfyward.store.tables.metadata import metadata, partial

workflows = Table(
    "workflows",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("name", String(200), nullable=False),
    Column("description", Text),
    Column("graph", Text),
    Column("editor_graph", Text),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("visibility", String(20), nullable=False, server_default="PRIVATE"),
    Column("accelerator", String(60)),
    Column("environment", String(120), nullable=False, server_default=""),
    Column("in_trials", Integer, nullable=False, server_default="0"),
    Column("form", Text),
    Column("parent_workflow_id", String(21)),
    Column("is_default", Integer, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("size", BigInteger, nullable=False, server_default="0"),
    CheckConstraint("visibility IN ('PRIVATE', 'PUBLIC')", name="visibility"),
    Index("ix_workflows_account_id_created_at", "account_id", "created_at"),
    Index("ix_workflows_public", "updated_at", **partial("visibility = 'PUBLIC'")),
    Index("ix_workflows_stored", "account_id", "size"),
    Index("ix_workflows_deleted", "account_id", "deleted_at", **partial("deleted_at IS NOT NULL")),
)

# The models that saved workflows name, relative to the models' folders.
workflow_models = Table(
    "workflow_models",
    metadata,
    Column("account_id", String(21), primary_key=True),
    Column("name", String(512), primary_key=True, index=True),
    Column("workflow_id", String(21), primary_key=True, index=True),
)

# What members ask for when their workflows need packs: an admin accepts or declines it.
pack_requests = Table(
    "pack_requests",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("workflow_id", String(21), nullable=False),
    Column("packs", Text, nullable=False),
    Column("comfyui", Text, nullable=False, server_default=""),
    Column("state", String(10), nullable=False),
    Column("environment", String(100), nullable=False, server_default=""),
    Column("reply", Text, nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    CheckConstraint("state IN ('waiting', 'accepted', 'declined')", name="state"),
    CheckConstraint("(state = 'waiting') = (decided_at IS NULL)", name="decided"),
    Index("ix_pack_requests_state", "state", "created_at"),
)
