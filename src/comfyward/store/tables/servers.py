"""Secrets that the servers of one database share."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from comfyward.store.tables.metadata import metadata

secrets = Table(
    "secrets",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("value", String(200), nullable=False),
)
