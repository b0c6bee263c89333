"""Opens the database for commands that run beside a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfyward.cli import installation
from comfyward.cli.options import settings_from
from comfyward.store import backends
from comfyward.store.db import Database


@contextmanager
def open_database(data_dir: Path | None) -> Iterator[Database]:
    """The installation's database, closed after the block. Raises SetupFailed."""
    settings = settings_from(data_dir=data_dir)
    installation.check(settings)
    db = backends.open_database(settings.derived_database_url(), settings.database_connections)
    try:
        yield db
    finally:
        db.close()
