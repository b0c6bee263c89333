"""The tables. CHECKs refuse what the code must not do. Times are milliseconds since the epoch."""

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
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from comfyward.runs.run import EndReason, State
from comfyward.store.statement import bytewise

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The key of an environment: 64 characters. SQLite, which knows no lengths, would have to copy the tables to say so.
KEY = String(60).with_variant(String(64), "postgresql")


def _one_of(column: str, values: type[State] | type[EndReason]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


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
    CheckConstraint("visibility IN ('PRIVATE', 'PUBLIC')", name="visibility"),
    Index("ix_workflows_account_id_created_at", "account_id", "created_at"),
    Index(
        "ix_workflows_public",
        "updated_at",
        sqlite_where=text("visibility = 'PUBLIC'"),
        postgresql_where=text("visibility = 'PUBLIC'"),
    ),
)

# Conditions of partial indexes. A database uses such an index only for a query with the same condition.
IS_QUEUED = text("runs.state = 'queued'")
IS_HANDED_OUT = text("runs.state <> 'queued'")
HAS_PREVIEWS = text("runs.previews <> '[]'")

runs = Table(
    "runs",
    metadata,
    Column("id", String(21), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("workflow_id", ForeignKey("workflows.id"), nullable=False),
    Column("api_key_id", String(21)),
    Column("prompt_id", String(100), nullable=False),
    Column("face", String(20), key="submitted_via", nullable=False),
    Column("client_id", String(200)),
    Column("state", String(20), nullable=False),
    Column("end_reason", String(40)),
    Column("accelerator", String(60), nullable=False),
    Column("pool", String(60), nullable=False),
    Column("environment", KEY, nullable=False),
    Column("environment_name", String(120), nullable=False, server_default=""),
    Column("environment_revision", Integer, nullable=False, server_default="0"),
    Column("priority", Integer, nullable=False),
    Column("turn", BigInteger, nullable=False, server_default="0"),
    Column("timeout_s", Float, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False),
    Column("cancel_requested_at", BigInteger),
    Column("prompt", Text, nullable=False),
    Column("extra_data", Text),
    Column("files", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("webhook", Text),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("labels", Text, nullable=False, server_default="{}"),
    Column("failure", Text),
    Column("outputs", Text, nullable=False, server_default="[]"),
    Column("shown", Text, key="node_results"),
    Column("previews", Text, nullable=False, server_default="[]"),
    Column("device", String(200)),
    Column("run_time_ms", BigInteger),
    Column("lease", String(60), unique=True),
    Column("lease_expires_at", BigInteger),
    Column("worker_id", String(60)),
    Column("avoid_worker_id", String(60)),
    Column("report_seq", Integer, nullable=False, server_default="0"),
    Column("event_seq", Integer, nullable=False, server_default="0"),
    Column("idempotency_key", String(200)),
    Column("request_digest", String(64)),
    Column("log", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("queued_at", BigInteger, nullable=False),
    Column("assigned_at", BigInteger),
    Column("staged_at", BigInteger),
    Column("credits_per_s", Float, nullable=False, server_default="0"),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("updated_at", BigInteger, nullable=False),
    Column("history_cleared_at", BigInteger),
    Column("deleted_at", BigInteger),
    Column("fallback_pool", String(60)),
    Column("start_by", BigInteger),
    CheckConstraint("face IN ('icu', 'jobs', 'native')", name="face"),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint(f"end_reason IS NULL OR {_one_of('end_reason', EndReason)}", name="end_reason"),
    CheckConstraint(
        "(state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="final_has_finished_at"
    ),
    CheckConstraint(
        "(state IN ('assigned', 'running')) = (lease IS NOT NULL AND lease_expires_at IS NOT NULL)",
        name="lease_while_leased",
    ),
    CheckConstraint(
        "state NOT IN ('succeeded', 'failed', 'cancelled') OR end_reason IS NOT NULL", name="final_has_reason"
    ),
    UniqueConstraint("account_id", "idempotency_key"),
    UniqueConstraint("account_id", "prompt_id"),
    Index("ix_runs_workflow_id_created_at", "workflow_id", "created_at", "id"),
    Index("ix_runs_account_id_created_at", "account_id", "created_at", "id"),
    Index(
        "ix_runs_queue",
        "pool",
        "environment",
        text("priority DESC"),
        "turn",
        "queued_at",
        "id",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_runs_places",
        "pool",
        "priority",
        "turn",
        "queued_at",
        "id",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_runs_environments",
        "pool",
        "environment",
        sqlite_where=text("state = 'queued' AND environment != 'default'"),
        postgresql_where=text("state = 'queued' AND environment != 'default'"),
    ),
    Index(
        "ix_runs_oldest",
        "pool",
        "environment",
        "queued_at",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_runs_start_by",
        "start_by",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "ix_runs_unfinished",
        "account_id",
        "state",
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
    Index(
        "ix_runs_previews",
        "finished_at",
        sqlite_where=text("previews <> '[]'"),
        postgresql_where=text("previews <> '[]'"),
    ),
    Index("ix_runs_finished_at", "finished_at"),
    Index(
        "ix_runs_deleted_at",
        "deleted_at",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
    Index("ix_runs_turns", "account_id", "pool", "turn"),
    Index(
        "ix_runs_served",
        "pool",
        "turn",
        sqlite_where=text("state <> 'queued'"),
        postgresql_where=text("state <> 'queued'"),
    ),
    Index(
        "ix_runs_worker_id",
        "worker_id",
        sqlite_where=text("lease IS NOT NULL"),
        postgresql_where=text("lease IS NOT NULL"),
    ),
    Index(
        "ix_runs_leases",
        "lease_expires_at",
        sqlite_where=text("lease IS NOT NULL"),
        postgresql_where=text("lease IS NOT NULL"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("run_id", ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("type", String(20), nullable=False),
    Column("data", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

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
    Index(
        "ix_files_stored",
        "account_id",
        "digest",
        "size",
        "path",
        sqlite_where=text("run_id IS NULL"),
        postgresql_where=text("run_id IS NULL"),
    ),
)

# Byte by byte, for the files below a folder: the order of PostgreSQL's text is not that of paths.
Index(
    "ix_files_below",
    files.c.account_id,
    bytewise(files.c.path),
    sqlite_where=text("run_id IS NULL"),
    postgresql_where=text("run_id IS NULL"),
)

links = Table(
    "links",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("path", String(1100), primary_key=True),
    Column("source", Text, nullable=False),
    Column("named_at", BigInteger, nullable=False),
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

mirrors = Table(
    "mirrors",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("pool", String(60), primary_key=True, server_default=""),
    Column("digest", String(64), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
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

usage = Table(
    "usage",
    metadata,
    Column("run_id", String(21), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("api_key_id", String(21)),
    Column("workflow_id", String(21), nullable=False),
    Column("accelerator", String(60), nullable=False),
    Column("day", String(10), nullable=False),
    Column("gpu_ms", BigInteger, nullable=False),
    Column("credits", Float, nullable=False),
    Index("ix_usage_account_id_day", "account_id", "day"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("run_id", String(21), nullable=False),
    Column("seq", Integer, nullable=False, server_default="0"),
    Column("event", String(40), nullable=False),
    Column("url", Text, nullable=False),
    Column("receiver", String(300), nullable=False, server_default=""),
    Column("snapshot", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", BigInteger),
    Column("last_status", Integer),
    Column("last_answer", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
    CheckConstraint("(state = 'pending') = (next_attempt_at IS NOT NULL)", name="pending_has_next"),
    Index("ix_webhook_deliveries_account_id_created_at", "account_id", "created_at"),
    Index(
        "ix_webhook_deliveries_waiting",
        "run_id",
        "seq",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    Index(
        "ix_webhook_deliveries_due",
        "account_id",
        "next_attempt_at",
        "receiver",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("value", String(200), nullable=False),
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
    Index(
        "ix_imports_waiting",
        "created_at",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
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

editor_settings = Table(
    "editor_settings",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("value", Text, nullable=False),
)

login_tries = Table(
    "login_tries",
    metadata,
    Column("budget", String(64), primary_key=True),
    Column("since", BigInteger, nullable=False, index=True),
    Column("count", Integer, nullable=False),
)

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
    Index(
        "ix_environment_lockings_unfinished",
        "environment_id",
        unique=True,
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
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

# What members ask for when their workflows need packs: an admin accepts or declines it.
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

# The models that saved workflows name, relative to the models' folders.
workflow_models = Table(
    "workflow_models",
    metadata,
    Column("account_id", String(21), primary_key=True),
    Column("name", String(512), primary_key=True, index=True),
    Column("workflow_id", String(21), primary_key=True, index=True),
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
)
