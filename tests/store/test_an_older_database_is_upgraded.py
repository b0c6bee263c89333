"""A database of the version before the website keeps what it has; its sessions end."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from comfyward.store import accounts, sessions, workflows
from comfyward.store import db as databases
from comfyward.store.db import now_ms, open_database


def test_from_the_first_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    _make_old(url)

    db = open_database(url)
    try:
        [account] = asyncio.run(db.read(accounts.find))
        assert (account.name, account.former_webhook_secret) == ("admin", None)
        kept = asyncio.run(db.read(workflows.get, account.id, "default"))
        assert (kept.name, kept.form) == ("Default", None)
        assert asyncio.run(db.read(sessions.find, account.id, now_ms())) == []
    finally:
        db.close()


def _make_old(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(databases.__file__).parent / "migrations"))
    engine = create_engine(url)
    with engine.connect() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, "0001")
        conn.execute(
            text(
                "INSERT INTO accounts (id, name, role, webhook_secret, created_at)"
                " VALUES ('a', 'admin', 'admin', 's', 1)"
            )
        )
        conn.execute(
            text(
                "INSERT INTO workflows (id, account_id, name, is_default, created_at, updated_at)"
                " VALUES ('w', 'a', 'Default', 1, 1, 1)"
            )
        )
        conn.execute(
            text("INSERT INTO sessions (hash, account_id, created_at, expires_at) VALUES ('h', 'a', 1, 9999999999999)")
        )
        conn.commit()
    engine.dispose()
