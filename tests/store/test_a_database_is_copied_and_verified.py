"""`comfyward db`: from SQLite to PostgreSQL with nothing lost, and plain words where it cannot be done."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Connection, text

from comfyward.cli.db import command
from comfyward.runs.run import Run
from comfyward.store import accounts, queue, runs
from comfyward.store.backends import open_database
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from tests.servers import Postgres
from tests.store.conftest import Store


def test_from_sqlite_to_postgresql(tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _sqlite_with_runs(tmp_path, 1_200)
    target = postgres.new_database()

    copied = _db("copy", target, "--data-dir", str(tmp_path))

    assert copied.exit_code == 0, copied.output
    assert "Copied and verified 1,204 rows" in copied.output  # runs, an account, its workflow, two blobs' uses
    assert _runs(target) == _runs(source)
    assert _queue_lengths(target) == {"L4": 1_200}
    monkeypatch.setenv("COMFYWARD_DATABASE_URL", target)
    checked = json.loads(_db("check", "--json").output)
    assert checked["shared"]
    assert checked["rows"]["runs"] == 1_200


def test_into_a_database_that_has_rows(tmp_path: Path, postgres: Postgres) -> None:
    _sqlite_with_runs(tmp_path, 1)
    target = postgres.new_database()
    assert _db("copy", target, "--data-dir", str(tmp_path)).exit_code == 0

    again = _db("copy", target, "--data-dir", str(tmp_path))

    assert "has rows in" in str(again.exception)
    assert len(_runs(target)) == 1


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, postgres: Postgres) -> None:
    source = _sqlite_with_runs(tmp_path, 3)
    db = open_database(source)
    asyncio.run(db.write(_break_a_run))
    db.close()
    target = postgres.new_database()

    failed = _db("copy", target, "--data-dir", str(tmp_path))

    assert "The target refused rows of 'runs'" in str(failed.exception)
    assert _runs(target) == []


def test_old_tables_are_upgraded_once_for_all_servers(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYWARD_DATABASE_URL", postgres.new_database())

    assert "Created a new database" in _db("upgrade").output
    assert "is at revision" in _db("upgrade").output


def _db(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def _sqlite_with_runs(data_dir: Path, count: int) -> str:
    url = f"sqlite:///{data_dir / 'comfyward.db'}"
    db = open_database(url)
    alice = asyncio.run(db.write(accounts.create, "alice", "member", None, now_ms()))
    store = Store(db, alice, alice)
    for number in range(count):
        files = {"/input/a": {"blob": "a" * 64, "size": 1}} if number < 2 else {}
        store.new_run(f"run {number} é", metadata={"text": "nul \0 in JSON"}, files=files)
    db.close()
    return url


def _runs(url: str) -> list[Run]:
    db = open_database(url, 4)
    found = asyncio.run(db.read(_all_runs))
    db.close()
    return found


def _queue_lengths(url: str) -> dict[str, int]:
    db = open_database(url, 4)
    found = asyncio.run(db.read(queue.lengths))
    db.close()
    return found


def _all_runs(conn: Connection) -> list[Run]:
    return [run for account in accounts.find(conn) for run in runs.find(conn, account.id, RunFilter(limit=10_000))]


def _break_a_run(conn: Connection) -> None:
    """SQLite keeps a text that is longer than its column; PostgreSQL does not."""
    conn.execute(text("UPDATE runs SET device = :device WHERE id LIKE 'run 1%'"), {"device": "d" * 300})
