"""Alembic's entry point: the caller passes the connection."""

from __future__ import annotations

from alembic import context

from comfyward.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,
    compare_type=True,
    # A lock that one revision takes is not held while the next one works: other servers use the tables meanwhile.
    transaction_per_migration=connection.dialect.name == "postgresql",
)
with context.begin_transaction():
    context.run_migrations()
