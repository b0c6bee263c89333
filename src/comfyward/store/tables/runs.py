"""Runs, and what is written beside them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from comfyward.runs.run import EndReason, State
from comfyward.store.tables.metadata import KEY, metadata, partial

# Conditions of partial indexes. A database uses such an index only for a query with the same condition.
IS_QUEUED = text("runs.state = 'queued'")
IS_HANDED_OUT = text("runs.state <> 'queued'")
IS_STAGED = text("runs.state = 'assigned' AND runs.staged_at IS NOT NULL")
IS_LARGE = text("runs.request_bytes IS NOT NULL")
HAS_PREVIEWS = text("runs.previews <> '[]'")


def _one_of(column: str, values: type[State] | type[EndReason]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


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
    Column("request_bytes", BigInteger),
    Column("has_secrets", Integer, nullable=False, server_default="0"),
    Column("recalled_at", BigInteger),
    Column("recalled_for", String(60)),
    CheckConstraint("face IN ('icu', 'jobs', 'native')", name="face"),
    CheckConstraint(_one_of("state", State), name="state"),
    # PostgreSQL has two of these in a shorter form (migration 0035): it parses all of them at each write.
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
        **partial("state = 'queued'"),
    ),
    Index("ix_runs_places", "pool", "priority", "turn", "queued_at", "id", **partial("state = 'queued'")),
    Index("ix_runs_environments", "pool", "environment", **partial("state = 'queued' AND environment != 'default'")),
    Index("ix_runs_oldest", "pool", "environment", "queued_at", **partial("state = 'queued'")),
    Index("ix_runs_start_by", "start_by", **partial("state = 'queued'")),
    Index("ix_runs_unfinished", "account_id", "state", "created_at", "id", **partial("finished_at IS NULL")),
    Index("ix_runs_over", "account_id", "state", "created_at", "id", **partial("finished_at IS NOT NULL")),
    Index("ix_runs_previews", "finished_at", **partial("previews <> '[]'")),
    Index("ix_runs_finished_at", "finished_at"),
    Index("ix_runs_deleted_at", "deleted_at", **partial("deleted_at IS NOT NULL")),
    Index("ix_runs_turns", "account_id", "pool", "turn"),
    Index("ix_runs_served", "pool", "turn", **partial("state <> 'queued'")),
    Index("ix_runs_worker_id", "worker_id", **partial("lease IS NOT NULL")),
    Index("ix_runs_leases", "lease_expires_at", **partial("lease IS NOT NULL")),
    Index("ix_runs_staged", "pool", "staged_at", **partial("state = 'assigned' AND staged_at IS NOT NULL")),
    Index("ix_runs_large", "account_id", "request_bytes", **partial("request_bytes IS NOT NULL")),
)

# The number of queued runs, in parts that are to be added up. Triggers of the database change it in the transactions
# that change the runs (migration 0027), whatever does so: no other code writes it.
queue_lengths = Table(
    "queue_lengths",
    metadata,
    Column("pool", String(60), primary_key=True),
    Column("environment_name", String(120), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("length", Integer, nullable=False),
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
    Index("ix_webhook_deliveries_waiting", "run_id", "seq", **partial("state = 'pending'")),
    Index("ix_webhook_deliveries_over", "finished_at", **partial("finished_at IS NOT NULL")),
    Index("ix_webhook_deliveries_due", "account_id", "next_attempt_at", "receiver", **partial("state = 'pending'")),
)
