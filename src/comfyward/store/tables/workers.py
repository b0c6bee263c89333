"""Workers, those who start them, and what they offer."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, String, Table, Text

from comfyward.store.tables.metadata import KEY, metadata

workers = Table(
    "workers",
    metadata,
    Column("id", String(60), primary_key=True),
    Column("incarnation", String(40), nullable=False),
    Column("pool", String(60), nullable=False),
    Column("environment", String(60), nullable=False),
    Column("target", String(60), nullable=False, server_default=""),
    Column("device", String(200), nullable=False),
    Column("host", String(200), nullable=False),
    Column("sandbox", String(40), nullable=False),
    Column("token", String(64), nullable=False, server_default=""),
    Column("session", String(64), nullable=False, server_default=""),
    Column("catalog_digest", String(64), nullable=False, server_default=""),
    Column("catalog_problem", Text),
    Column("versions", Text, nullable=False),
    Column("vitals", Text, nullable=False, server_default="{}"),
    Column("local", Integer, nullable=False, server_default="0"),
    Column("paused_at", BigInteger),
    Column("drain_at", BigInteger),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("gone_at", BigInteger),
)

worker_tokens = Table(
    "worker_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("pool", String(60)),
    Column("role", String(20), nullable=False, server_default="worker"),
    Column("made_by", String(64)),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("revoked_at", BigInteger),
    CheckConstraint("role IN ('worker', 'fleet')", name="role"),
)

fleets = Table(
    "fleets",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("token", String(64), nullable=False, server_default=""),
    Column("pools", Text, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

catalogs = Table(
    "catalogs",
    metadata,
    Column("environment", KEY, primary_key=True),
    Column("pool", String(60), primary_key=True, server_default=""),
    Column("digest", String(64), primary_key=True),
    Column("is_shared", Integer, nullable=False, server_default="1"),
    Column("body", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
