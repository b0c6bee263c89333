"""Opens a database by its URL: SQLite or PostgreSQL."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from comfyward.errors import SetupFailed
from comfyward.store import postgres
from comfyward.store.db import Database
from comfyward.store.postgres import PostgresDatabase
from comfyward.store.sqlite import SqliteDatabase

HINT = (
    "Write it as postgresql://USER:PASSWORD@HOST/DATABASE. Without COMFYWARD_DATABASE_URL, SQLite in the data directory"
    " is used."
)


def open_database(url: str, connections: int = 16) -> Database:
    """Opens the database at a URL. Raises SetupFailed, with advice, if it cannot be used."""
    parsed = _parse(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(url)
        case "postgresql":
            return PostgresDatabase(parsed, connections)
        case other:
            raise _unsupported(other)


def open_engine(url: str) -> Engine:
    """An engine for commands that migrate or copy, once it has reached its database. Raises as `open_database` does."""
    parsed = _parse(url)
    match parsed.get_backend_name():
        case "sqlite":
            return create_engine(parsed)
        case "postgresql":
            engine = postgres.open_engine(parsed, 4)
            try:
                postgres.reach(engine).close()
            except SetupFailed:
                engine.dispose()
                raise
            return engine
        case other:
            raise _unsupported(other)


def _unsupported(kind: str) -> SetupFailed:
    return SetupFailed(f"'{kind}' databases are not supported.", hint=HINT)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SetupFailed("The address of the database is not a URL.", hint=HINT) from error
    # PostgreSQL's own programs take both names.
    return parsed.set(drivername="postgresql") if parsed.drivername == "postgres" else parsed
