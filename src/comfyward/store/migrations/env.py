"""Alembic's entry point: the caller passes the connection."""

from __future__ import annotations

from alembic import context

from comfyward.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
