"""Opens a database by its URL: SQLite or PostgreSQL."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from comfyward.errors import SetupFailed
from comfyward.store.db import Database
from comfyward.store.postgres import PostgresDatabase
from comfyward.store.sqlite import SqliteDatabase


def open_database(url: str, connections: int = 16) -> Database:
    """Opens the database at a URL. Raises SetupFailed, with advice, if it cannot be used."""
    parsed = _parse(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(url)
        case "postgresql":
            return PostgresDatabase(parsed, connections)
        case other:
            raise SetupFailed(
                f"'{other}' databases are not supported.",
                hint="Set COMFYWARD_DATABASE_URL to postgresql://USER:PASSWORD@HOST/DATABASE, or leave it unset to use"
                " SQLite in the data directory.",
            )


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise SetupFailed(
            "COMFYWARD_DATABASE_URL is not a URL.", hint="Write it as postgresql://USER:PASSWORD@HOST/DATABASE."
        ) from error
