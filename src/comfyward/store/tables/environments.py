"""Environments, their revisions, and what workers say of them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from comfyward.store.tables.metadata import metadata, partial

environments = Table(
    "environments",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("name", String(100), nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("newest", Integer, nullable=False, server_default="0"),
    Column("current", Integer, nullable=False, server_default="0"),
    Column("former", Text, nullable=False, server_default="[]"),
    Column("auto_promote", Integer, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

environment_revisions = Table(
    "environment_revisions",
    metadata,
    Column("environment_id", ForeignKey("environments.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("spec", Text, nullable=False),
    Column("asked_at", BigInteger),
    Column("promotes", Integer, nullable=False, server_default="0"),  # by itself, once its trial is good
    Column("created_at", BigInteger, nullable=False),
)

# One for each target: what is installed differs between platforms, the packs do not.
environment_locks = Table(
    "environment_locks",
    metadata,
    Column("environment_id", String(21), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("target", String(60), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("lock", Text, nullable=False),
    ForeignKeyConstraint(
        ["environment_id", "number"], ["environment_revisions.environment_id", "environment_revisions.number"]
    ),
)

# The making of a revision by a server, because an admin asked. One at a time for each environment.
environment_lockings = Table(
    "environment_lockings",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("environment_id", ForeignKey("environments.id"), nullable=False),
    Column("kind", String(10), nullable=False),
    Column("comfyui", String(100), nullable=False, server_default=""),
    Column("next", String(10), nullable=False, server_default=""),
    Column("spec", Text, nullable=False),
    Column("state", String(10), nullable=False),
    Column("step", Text, nullable=False, server_default=""),
    Column("part", Float),
    Column("message", Text, nullable=False, server_default=""),
    Column("hint", Text, nullable=False, server_default=""),
    Column("revision", Integer, nullable=False, server_default="0"),
    Column("is_new", Integer, nullable=False, server_default="0"),
    Column("found", Text),
    Column("server", String(21), nullable=False, server_default=""),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("renewed_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('waiting', 'locking', 'proposed', 'done', 'failed', 'cancelled')", name="state"),
    Index("ix_environment_lockings_unfinished", "environment_id", unique=True, **partial("finished_at IS NULL")),
)

# A trial in which packs may fetch files, because an admin asked which. One for each environment: the last.
environment_learnings = Table(
    "environment_learnings",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("environment_id", ForeignKey("environments.id"), nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("hosts", Text, nullable=False, server_default="[]"),
    Column("graph", Text, nullable=False, server_default=""),
    Column("state", String(10), nullable=False),
    Column("worker", String(60), nullable=False, server_default=""),
    Column("message", Text, nullable=False, server_default=""),
    Column("found", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('waiting', 'learning', 'done', 'failed', 'cancelled')", name="state"),
)

# A marked workflow's last good run, repeated in a revision that is tried.
environment_rehearsals = Table(
    "environment_rehearsals",
    metadata,
    Column("environment_id", String(21), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("workflow_id", String(21), primary_key=True),
    Column("account_id", String(21), nullable=False),
    Column("former_run_id", String(21), nullable=False, server_default=""),
    Column("run_id", String(21), nullable=False, server_default=""),
    Column("state", String(10), nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    Column("difference", Float),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('running', 'same', 'different', 'failed', 'skipped')", name="state"),
)

# What a worker says of an environment that it was asked to build. It belongs to the worker's token.
environment_trials = Table(
    "environment_trials",
    metadata,
    Column("worker_id", String(60), primary_key=True),
    Column("digest", String(64), primary_key=True, index=True),
    Column("token", String(64), nullable=False),
    Column("is_shared", Integer, nullable=False),
    Column("host", String(200), nullable=False),
    Column("target", String(60), nullable=False),
    Column("state", String(20), nullable=False),
    Column("step", Text, nullable=False, server_default=""),
    Column("part", Float),
    Column("message", Text, nullable=False, server_default=""),
    Column("hint", Text, nullable=False, server_default=""),
    Column("catalog_digest", String(64), nullable=False, server_default=""),
    Column("report", Text),
    Column("picture", Text),
    Column("changed_at", BigInteger, nullable=False),
)

# What the packs of an environment bring for the editor: the archive is a blob, `listing` what is in it.
environment_web_files = Table(
    "environment_web_files",
    metadata,
    Column("environment", String(64), primary_key=True),
    Column("pool", String(60), primary_key=True),
    Column("digest", String(64), primary_key=True, index=True),
    Column("is_shared", Integer, nullable=False),
    Column("listing", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
)

# Archives of packs that were uploaded to one server: blobs, by the digest of the tree that they unpack to.
environment_trees = Table(
    "environment_trees",
    metadata,
    Column("tree", String(64), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("stored_at", BigInteger, nullable=False),
)
