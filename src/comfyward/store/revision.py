"""Which form the tables have, and bringing them to the newest."""

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
    """The revision that this version of comfyward works with."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def present(conn: Connection) -> str | None:
    """The revision of a database's tables; None when it has none yet."""
    return MigrationContext.configure(conn).get_current_revision()


def upgrade(engine: Engine) -> None:
    """Brings the tables to the newest revision; may be called on every start.

    Raises SetupFailed when they come from a newer version.
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
    """SQLite changes a table by making it anew, and dropping the old one must not take along what points at it."""
    if conn.dialect.name != "sqlite":
        yield
        return
    driver: Any = conn.connection.driver_connection  # outside of a transaction, in which the setting would do nothing
    driver.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        driver.execute("PRAGMA foreign_keys = ON")


def check(conn: Connection) -> None:
    """Raises SetupFailed unless the tables are of the newest revision."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    match present(conn):
        case revision if revision == newest():
            return
        case None:
            raise SetupFailed("The database has no tables yet.", hint=f"Make them with '{UPGRADE}'.")
        case revision if revision in known:
            raise SetupFailed(
                f"The database's tables are of an older version ({revision}; this one needs {newest()}).",
                hint=f"Bring them up to date with '{UPGRADE}', once for all servers.",
            )
        case revision:
            raise newer(revision)


def newer(revision: str | None) -> SetupFailed:
    """The refusal of tables that only a newer version understands."""
    return SetupFailed(
        f"The database's tables ({revision}) are of a newer version of comfyward than this one ({newest()}).",
        hint="Install the newer version.",
    )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
