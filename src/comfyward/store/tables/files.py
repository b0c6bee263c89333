"""Files, and the blobs that they name."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from comfyward.store.statement import bytewise
from comfyward.store.tables.metadata import metadata, partial

files = Table(
    "files",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("path", String(1100), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("is_asset", Integer, nullable=False, server_default="0"),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE")),
    Column("created_at", BigInteger, nullable=False),
    Column("named_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("label", String(512), nullable=False, server_default=""),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("about", Text, nullable=False, server_default="{}"),
    UniqueConstraint("account_id", "path", "digest"),
    Index("ix_files_digest", "digest"),
    Index("ix_files_run_id", "run_id"),
    Index("ix_files_expires_at", "expires_at"),
    Index("ix_files_stored", "account_id", "digest", "size", "path", **partial("run_id IS NULL")),
)

# Byte by byte, for the files below a folder: the order of PostgreSQL's text is not that of paths.
Index("ix_files_below", files.c.account_id, bytewise(files.c.path), **partial("run_id IS NULL"))

# Files that an admin shares: every account uses them by name, unless it has a file of its own there.
shared_files = Table(
    "shared_files",
    metadata,
    Column("path", String(1100), primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("content_type", String(200), nullable=False),
    Column("about", Text, nullable=False, server_default="{}"),
    Column("shared_by", String(21), nullable=False),
    Column("shared_at", BigInteger, nullable=False),
)

links = Table(
    "links",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("path", String(1100), primary_key=True),
    Column("source", Text, nullable=False),
    Column("named_at", BigInteger, nullable=False),
)

imports = Table(
    "imports",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("path", String(1100), nullable=False),
    Column("source", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("failure", Text),
    Column("done_bytes", BigInteger, nullable=False, server_default="0"),
    Column("total_bytes", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('waiting', 'done', 'failed')", name="state"),
    Index("ix_imports_account_id_created_at", "account_id", "created_at"),
    Index("ix_imports_waiting", "created_at", **partial("state = 'waiting'")),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("path", String(1100), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("offset", BigInteger, nullable=False, server_default="0"),
    Column("pieces", Text, nullable=False, server_default="[]"),
    Column("created_at", BigInteger, nullable=False, index=True),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("removing_at", BigInteger),
    Column("name", String(255), nullable=False, server_default=""),
)

blob_uses = Table(
    "blob_uses",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", String(21), nullable=False, server_default=""),
    Column("size", BigInteger, nullable=False, server_default="0"),
    Index("ix_blob_uses_run_id", "run_id"),
    Index("ix_blob_uses_stored", "account_id", "digest", "size"),
)

mirrors = Table(
    "mirrors",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("pool", String(60), primary_key=True, server_default=""),
    Column("digest", String(64), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
)
