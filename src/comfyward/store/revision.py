"""The revision of the tables, and upgrades to the newest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from comfyward.errors import SetupFailed

UPGRADE = "comfyward db upgrade"


def newest() -> str:
    """The revision that this version of comfyward needs."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def present(conn: Connection) -> str | None:
    """The revision of a database's tables; None if it has no tables."""
    return MigrationContext.configure(conn).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Upgrades the tables to the newest revision; does nothing if they have it.

    Raises SetupFailed if they come from a newer version.
    """
    config = _config()
    with engine.connect() as conn, _tables_may_be_copied(conn):
        config.attributes["connection"] = conn
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise newer(present(conn)) from error


@contextlib.contextmanager
def _tables_may_be_copied(conn: Connection) -> Iterator[None]:
    """Turns SQLite's foreign keys off: it alters a table by copying it, and dropping the old one must not cascade."""
    if conn.dialect.name != "sqlite":
        yield
        return
    driver: Any = conn.connection.driver_connection  # outside a transaction, where the pragma would have no effect
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def check(conn: Connection) -> None:
    """Raises SetupFailed unless the tables have the newest revision."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    match present(conn):
        case revision if revision == newest():
            return
        case None:
            raise SetupFailed("The database has no tables yet.", hint=f"Create them with '{UPGRADE}'.")
        case revision if revision in known:
            raise SetupFailed(
                f"The database is at revision {revision}, but this version needs {newest()}.",
                hint=f"Upgrade it with '{UPGRADE}', once for all servers.",
            )
        case revision:
            raise newer(revision)


def newer(revision: str | None) -> SetupFailed:
    """The error for tables that only a newer version can use."""
    return SetupFailed(
        f"The database is at revision {revision}, which is newer than this version's ({newest()}).",
        hint="Install a newer version of comfyward.",
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
