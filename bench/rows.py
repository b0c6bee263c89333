"""Time of each operation on runs while the tables grow.

    python -m bench.rows                          # SQLite, 10^4 and 10^5 runs
    python -m bench.rows --sizes 10000 1000000 --database postgresql      # Debian's, started here
    python -m bench.rows --sizes 1000000 --waiting 100000 --database postgresql

The tables are filled with finished runs (of 50 accounts, with prompts of 2 KB) and 1,000 queued ones, and before these
with as many as --waiting says. Prints the median and the 99th percentile of each operation in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, text

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report
from comfyward.runs.run import Api, State
from comfyward.store import accounts, leases, new_runs, queue, runs
from comfyward.store import workflows as stored_workflows
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from comfyward.store.new_runs import NewRun
from comfyward.store.runs import RunFilter
from comfyward.store.schema import events as events_table
from comfyward.store.schema import runs as runs_table
from tests import servers

ACCOUNTS, WAITING, ROUNDS, BATCH = 50, 1_000, 200, 2_000
PROMPT = '{"1": {"class_type": "Any", "inputs": {"text": "' + "x" * 2_000 + '"}}}'
DAY_MS = 24 * 3600 * 1000


class Tables:
    """A database that is filled in steps, and the operations that are timed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._owners: list[tuple[str, str]] = []
        self._filled = 0

    def fill(self, size: int) -> None:
        if not self._owners:
            self._owners = [self._write(_new_account, number) for number in range(ACCOUNTS)]
        while self._filled < size:
            until = min(size, self._filled + BATCH)
            self._write(_add_finished, self._owners, range(self._filled, until))
            self._filled = until
        self._write(_analyze)

    def figures(self, more_waiting: int) -> dict[str, str]:
        for first in range(0, more_waiting, BATCH):
            self._write(_add_waiting, self._owners, range(first, min(more_waiting, first + BATCH)))
        self._write(_analyze)
        waiting = [self._submit(number) for number in range(WAITING)]
        taken = iter(waiting)
        account = self._owners[0][0]
        page = RunFilter(limit=50)
        failed = RunFilter(limit=50, states=(State.FAILED,))
        found = {
            "submit": _times(lambda: self._submit(time.time_ns())),
            "queue heads": _times(lambda: self._read(queue.heads, {"L4": ["default"]}, 200, aged_before=now_ms())),
            "claim": _times(lambda: self._claim(next(taken))),
            "get": _times(lambda: self._read(runs.get, account, f"run-{0:016d}")),
            "list, newest 50": _times(lambda: self._read(runs.find, account, page)),
            "list, failed": _times(lambda: self._read(runs.find, account, failed)),
            "queue position": _times(lambda: self._read(_position, waiting[-1])),
            "expired leases": _times(lambda: self._read(leases.expired, now_ms())),
            "queue lengths": _times(lambda: self._read(queue.lengths)),
            "purge, nothing due": _times(lambda: self._write(runs.purge, deleted_before=1, finished_before=1)),
        }
        self._write(_delete_unfinished)
        return found

    def _submit(self, number: int) -> str:
        account_id, workflow_id = self._owners[number % ACCOUNTS]
        return str(self._write(new_runs.add, _new_run(account_id, workflow_id)))

    def _claim(self, run_id: str) -> None:
        now = now_ms()
        new_lease = leases.NewLease(run_id, "w", "d", f"lease-{run_id}")
        assert self._write(leases.assign, [new_lease], expires_at=now + 60_000, now=now)

    def _read(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self._db.read(operation, *args, **kwargs))

    def _write(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self._db.write(operation, *args, **kwargs))


def _times(call: Callable[[], Any]) -> str:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    found = quantiles(times)
    return f"{found['p50_ms']} / {found['p99_ms']}"


def _new_account(conn: Connection, number: int) -> tuple[str, str]:
    account = accounts.create(conn, f"account {number}", "member", None, now_ms())
    return account.id, stored_workflows.place(conn, account.id, stored_workflows.DEFAULT_ALIAS).id


def _new_run(account_id: str, workflow_id: str) -> NewRun:
    name = f"new-{time.time_ns()}"[-21:]
    return NewRun(
        id=name,
        account_id=account_id,
        workflow_id=workflow_id,
        api_key_id=None,
        prompt_id=name,
        submitted_via=Api.ICU,
        client_id=None,
        accelerator="L4",
        pool="L4",
        environment="default",
        priority=0,
        timeout_s=60.0,
        max_attempts=3,
        prompt=PROMPT,
        extra_data=None,
        files={},
        models=[],
        metadata={},
        webhook=None,
        tags=[],
        labels={},
        idempotency_key=None,
        request_digest=None,
        created_at=now_ms(),
    )


def _add_finished(conn: Connection, owners: list[tuple[str, str]], numbers: range) -> None:
    first_at = now_ms() - 30 * DAY_MS
    rows = [_finished_row(number, owners[number % len(owners)], first_at + number) for number in numbers]
    events = [
        {"run_id": row["id"], "seq": seq, "type": "status", "data": "{}", "created_at": row["created_at"]}
        for row in rows
        for seq in range(1, 6)
    ]
    conn.execute(insert(runs_table), rows)
    conn.execute(insert(events_table), events)


def _add_waiting(conn: Connection, owners: list[tuple[str, str]], numbers: range) -> None:
    queued = {"state": "queued", "end_reason": None, "attempt": 0, "worker_id": None}
    queued |= dict.fromkeys(("assigned_at", "started_at", "finished_at"))
    rows = [_finished_row(number, owners[number % len(owners)], now_ms()) | queued for number in numbers]
    named = ({"id": f"wait-{number:015d}", "prompt_id": f"wait-{number:015d}"} for number in numbers)
    conn.execute(insert(runs_table), [row | name for row, name in zip(rows, named, strict=True)])


def _finished_row(number: int, owner: tuple[str, str], at: int) -> dict[str, Any]:
    failed = number % 20 == 0
    run_id = f"run-{number:016d}"
    return {
        "id": run_id,
        "account_id": owner[0],
        "workflow_id": owner[1],
        "prompt_id": run_id,
        "submitted_via": "icu",
        "state": "failed" if failed else "succeeded",
        "end_reason": "node_error" if failed else "completed",
        "accelerator": "L4",
        "pool": "L4",
        "environment": "default",
        "priority": 0,
        "turn": number,
        "timeout_s": 60,
        "attempt": 1,
        "max_attempts": 3,
        "prompt": PROMPT,
        "files": "{}",
        "models": "[]",
        "metadata": "{}",
        "event_seq": 5,
        "worker_id": f"w{number % 100}",
        "created_at": at,
        "queued_at": at,
        "assigned_at": at + 1,
        "started_at": at + 2,
        "finished_at": at + 3,
        "updated_at": at + 3,
    }


def _analyze(conn: Connection) -> None:
    conn.execute(text("ANALYZE"))


def _delete_unfinished(conn: Connection) -> None:
    conn.execute(runs_table.delete().where(runs_table.c.finished_at.is_(None)))


def _position(conn: Connection, run_id: str) -> int:
    run = runs.get_any(conn, run_id)
    assert run is not None
    return runs.queue_position(conn, run)


@contextlib.contextmanager
def _database(kind: str) -> Iterator[Database]:
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="cw-bench-"))
        is_sqlite = kind == "sqlite"
        url = f"sqlite:///{folder}/rows.db" if is_sqlite else held.enter_context(servers.postgres()).new_database()
        db = open_database(url, 6)
        held.callback(db.close)
        yield db


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--waiting", type=int, default=0)
    args = parser.parse_args()
    with _database(args.database) as db:
        tables = Tables(db)
        for size in args.sizes:
            tables.fill(size)
            report(f"{args.database}, {size:,} runs, {args.waiting:,} waiting", dict(tables.figures(args.waiting)))


if __name__ == "__main__":
    main()
