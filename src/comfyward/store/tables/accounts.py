"""Accounts, and what lets somebody act for one."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, ForeignKey, Index, Integer, String, Table, Text

from comfyward.store.tables.metadata import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("role", String(20), nullable=False),
    Column("credit_limit", Float),
    Column("webhook_secret", String(100), nullable=False),
    Column("former_webhook_secret", String(100)),
    Column("former_webhook_secret_until", BigInteger),
    Column("password_hash", String(200)),
    Column("identity", String(500)),
    Column("weight", Float, nullable=False, server_default="1"),
    Column("max_running", Integer),
    Column("max_running_by_pool", Text, nullable=False, server_default="{}"),
    Column("storage_limits", Text, nullable=False, server_default="{}"),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    CheckConstraint("role IN ('admin', 'member')", name="role"),
    Index("ix_accounts_identity", "identity", unique=True),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("prefix", String(20), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("max_running", Integer),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("id", String(21), nullable=False, server_default=""),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("api_key_id", String(21)),
    Column("device", String(300), nullable=False, server_default=""),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False, server_default="0"),
    Column("expires_at", BigInteger, nullable=False),
)

login_links = Table(
    "login_links",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

login_tries = Table(
    "login_tries",
    metadata,
    Column("budget", String(64), primary_key=True),
    Column("since", BigInteger, nullable=False, index=True),
    Column("count", Integer, nullable=False),
)

named_secrets = Table(
    "named_secrets",
    metadata,
    Column("account_id", String(21), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("hosts", Text, nullable=False),
    Column("header", String(64), nullable=False),
    Column("key_id", String(12), nullable=False, index=True),
    Column("encrypted", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

editor_settings = Table(
    "editor_settings",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)
