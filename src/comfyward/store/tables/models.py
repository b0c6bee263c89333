"""Facts, uses, pins and deletions of models, beside their files."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text, UniqueConstraint

from comfyward.store.tables.metadata import metadata

# What the header of a model's file tells. It belongs to the bytes: only who has them sees it.
model_facts = Table(
    "model_facts",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("facts", Text, nullable=False),
    Column("read_at", BigInteger, nullable=False),
)

# How often runs named a model; `digest` is "" for a model of a worker's host and for one that came by URL.
model_uses = Table(
    "model_uses",
    metadata,
    Column("account_id", String(21), primary_key=True),
    Column("path", String(1100), primary_key=True),
    Column("digest", String(64), primary_key=True, index=True, server_default=""),
    Column("workflow_id", String(21), primary_key=True),
    Column("run_count", Integer, nullable=False),
    Column("last_used_at", BigInteger, nullable=False),
    Column("last_run_id", String(21), nullable=False),
)

# Models that workers of a pool are to keep in memory; `digest` is "" for one in the operator's own folders.
model_pins = Table(
    "model_pins",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", String(21), nullable=False),
    Column("pool", String(60), nullable=False),
    Column("path", String(1100), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger),
    Column("workers", Integer, nullable=False),
    Column("workflow_id", String(21), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("pool", "path", "workflow_id"),
)

# Models that were deleted, for as long as that can be undone.
deleted_models = Table(
    "deleted_models",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(21), nullable=False, index=True),
    Column("path", String(1100), nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("about", Text, nullable=False, server_default="{}"),
    Column("is_own", Integer, nullable=False),
    Column("is_shared", Integer, nullable=False),
    Column("link", Text),
    Column("deleted_at", BigInteger, nullable=False, index=True),
    Column("beside", String(36), nullable=False, server_default=""),
)
