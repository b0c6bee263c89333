"""A database of the version before the website keeps what it has; its sessions end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from comfyward.store import accounts, catalogs, runs, sessions, workflows
from comfyward.store import db as databases
from comfyward.store.backends import open_database
from comfyward.store.catalogs import CatalogRow
from comfyward.store.db import now_ms


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


def test_what_points_at_a_run_outlives_the_copy_of_its_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    _make_old(url)
    _write(
        url,
        "0005",
        "INSERT INTO runs (id, account_id, workflow_id, prompt_id, face, state, accelerator, pool,"
        " environment, priority, timeout_s, max_attempts, prompt, files, models, metadata, created_at, queued_at,"
        " updated_at) VALUES ('r', 'a', 'w', 'p', 'icu', 'queued', 'L4', 'L4', 'default', 0, 1, 3, '{}', '{}', '[]',"
        " '{}', 1, 1, 1)",
        "INSERT INTO blob_uses (run_id, digest) VALUES ('r', 'd')",
    )

    db = open_database(url)
    try:
        assert asyncio.run(db.read(runs.get, "a", "r")).id == "r"
        assert asyncio.run(db.read(_ask, "SELECT run_id, digest FROM blob_uses")) == [("r", "d")]
        assert asyncio.run(db.read(_ask, "PRAGMA foreign_key_check")) == []
        assert asyncio.run(db.read(_ask, "PRAGMA foreign_keys")) == [(1,)]
        asyncio.run(db.write(_end_busy))
    finally:
        db.close()


def test_catalogs_stay_in_use_and_copies_of_unknown_origin_are_forgotten(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    _make_old(url)
    _write(
        url,
        "0009",
        "INSERT INTO catalogs (environment, digest, body, updated_at) VALUES ('default', 'd', '{}', 1)",
        "INSERT INTO mirrors (key, digest, created_at, used_at) VALUES ('k', 'd', 1, 1)",
    )

    db = open_database(url)
    try:
        assert asyncio.run(db.read(catalogs.find)) == [CatalogRow("default", "", "d", True, 1)]
        assert asyncio.run(db.read(_ask, "SELECT count(*) FROM mirrors")) == [(0,)]
    finally:
        db.close()


def _ask(conn: Connection, question: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in conn.execute(text(question))]


def _end_busy(conn: Connection) -> None:
    conn.execute(text("UPDATE runs SET state = 'failed', end_reason = 'host_busy', finished_at = 2 WHERE id = 'r'"))


def _write(url: str, revision: str, *statements: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(databases.__file__).parent / "migrations"))
    engine = create_engine(url)
    with engine.connect() as conn:
        config.attributes["connection"] = conn
        command.upgrade(config, revision)
        for statement in statements:
            conn.execute(text(statement))
        conn.commit()
    engine.dispose()


def _make_old(url: str) -> None:
    _write(
        url,
        "0001",
        "INSERT INTO accounts (id, name, role, webhook_secret, created_at) VALUES ('a', 'admin', 'admin', 's', 1)",
        "INSERT INTO workflows (id, account_id, name, is_default, created_at, updated_at)"
        " VALUES ('w', 'a', 'Default', 1, 1, 1)",
        "INSERT INTO sessions (hash, account_id, created_at, expires_at) VALUES ('h', 'a', 1, 9999999999999)",
    )
