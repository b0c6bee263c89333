"""A submission asks for the files that its graph names. Among thousands, SQLite takes as many steps as among few."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from comfyward.runs.files import Stored, Url
from comfyward.store import accounts, files, usable_files
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from tests.servers import sqlite_with_tables

MANY = 3000
NAMES = [f"/input/name {number}.png" for number in range(50)]
FOLDERS = [f"/input/folder {number}" for number in range(50)]
UPLOADED, BROUGHT, WITHIN = NAMES[7], NAMES[8], f"{FOLDERS[9]}/frame.png"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{shutil.copy(sqlite_with_tables(), tmp_path / 'test.db')}")
    yield opened
    opened.close()


def test_a_graphs_names(db: Database) -> None:
    account = asyncio.run(db.write(accounts.create, "alice", "member", None, now_ms()))
    asyncio.run(db.write(_add, account.id, [UPLOADED, WITHIN], [BROUGHT]))
    before, found = asyncio.run(db.read(_steps, account.id))

    others = [f"/output/{number}.png" for number in range(MANY)]
    asyncio.run(db.write(_add, account.id, others, [f"/models/loras/{number}.pt" for number in range(MANY)]))
    after, found_again = asyncio.run(db.read(_steps, account.id))

    assert found == found_again
    assert found.keys() == {UPLOADED, BROUGHT, WITHIN}
    assert isinstance(found[UPLOADED], Stored)
    assert isinstance(found[BROUGHT], Url)
    assert after < 2 * before


def _steps(conn: Connection, account_id: str) -> tuple[int, dict[str, Any]]:
    """The number of instructions of SQLite that the look-up takes, and what it finds."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    driver: Any = conn.connection.dbapi_connection
    driver.set_progress_handler(count, 1)
    try:
        found = usable_files.named(conn, account_id, NAMES, FOLDERS)
    finally:
        driver.set_progress_handler(None, 0)
    return steps, found


def _add(conn: Connection, account_id: str, paths: list[str], brought: list[str]) -> None:
    files.add_outputs(
        conn, [files.new_file(account_id, path, f"{n:064}", 1, "image/png", 1) for n, path in enumerate(paths)]
    )
    files.link(conn, account_id, {path: {"url": "https://host/a"} for path in brought}, 1)
