"""Time of each operation on runs while the tables grow.

    python -m bench.rows                          # SQLite, 10^4 and 10^5 runs
    python -m bench.rows --sizes 10000 1000000 --database postgresql      # Debian's, started here
    python -m bench.rows --sizes 10000000 --waiting 1000000 --database postgresql://localhost/name

The tables are filled with finished runs (of 50 accounts, with prompts of 2 KB) and 1,000 queued ones, and before these
with as many as --waiting says. A database that is named by its URL keeps its runs: called again, with the same numbers,
the benchmark finds them. Prints the median and the 99th percentile of each operation in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, text

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.stack import quantiles, report
from comfyward.runs.run import Api, State
from comfyward.store import accounts, leases, new_runs, queue, runs
from comfyward.store import workflows as stored_workflows
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from comfyward.store.new_runs import NewRun
from comfyward.store.runs import RunFilter
from comfyward.store.schema import runs as runs_table
from comfyward.store.schema import workflows
from tests import servers

ACCOUNTS, WAITING, ROUNDS, BATCH = 50, 1_000, 200, 100_000
PROMPT = '{"1": {"class_type": "Any", "inputs": {"text": "' + "x" * 2_000 + '"}}}'
NEW = "w-"  # begins the ids of runs that a measurement makes
DAY_MS = 24 * 3600 * 1000


class Tables:
    """A database that is filled in steps, and the operations that are timed."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._owners: list[tuple[str, str]] = []

    def fill(self, finished: int, waiting: int) -> None:
        if not self._owners:
            self._owners = self._read(_accounts) or [self._write(_new_account, number) for number in range(ACCOUNTS)]
        self._add("run", finished, _FINISHED)
        self._add("wait", waiting, _QUEUED)

    def figures(self) -> dict[str, str]:
        waiting = [self._submit(number) for number in range(WAITING)]
        taken = iter(waiting)
        account = self._owners[0][0]
        page = RunFilter(limit=50)
        failed = RunFilter(limit=50, states=(State.FAILED,))
        found = {
            "submit": _times(lambda: self._submit(time.time_ns())),
            "queue heads": _times(lambda: self._read(queue.heads, {"L4": ["default"]}, 200, aged_before=now_ms())),
            "claim": _times(lambda: self._claim(next(taken))),
            "get": _times(lambda: self._read(runs.get, account, _name("run", 0))),
            "list, newest 50": _times(lambda: self._read(runs.find, account, page)),
            "list, failed": _times(lambda: self._read(runs.find, account, failed)),
            "queue position": _times(lambda: self._read(_position, waiting[-1])),
            "expired leases": _times(lambda: self._read(leases.expired, now_ms())),
            "queue lengths": _times(lambda: self._read(queue.lengths)),
            "purge, nothing due": _times(lambda: self._write(runs.purge, deleted_before=1, finished_before=1)),
        }
        self._write(_delete_new)
        return found

    def _add(self, kind: str, count: int, columns: Mapping[str, str]) -> None:
        """Adds runs of a kind until there are as many."""
        first = self._read(_count, kind)
        if first >= count:
            return
        self._write(_drop_indexes)
        for number in range(first, count, BATCH):
            self._write(_add_runs, self._owners, kind, range(number, min(count, number + BATCH)), columns)
        self._write(_create_indexes)
        self._write(_analyze)

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
    name = f"{NEW}{time.time_ns()}"[:21]
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


_QUEUED = {
    "id": ":kind || '-' || (1000000000000000 + n.number)",
    "account_id": "owner.account_id",
    "workflow_id": "owner.workflow_id",
    "prompt_id": ":kind || '-' || (1000000000000000 + n.number)",
    "face": "'icu'",
    "state": "'queued'",
    "accelerator": "'L4'",
    "pool": "'L4'",
    "environment": "'default'",
    "priority": "0",
    "turn": "n.number",
    "timeout_s": "60",
    "max_attempts": "3",
    "prompt": ":prompt",
    "files": "'{}'",
    "models": "'[]'",
    "metadata": "'{}'",
    "event_seq": "1",
    "created_at": ":since + n.number",
    "queued_at": ":since + n.number",
    "updated_at": ":since + n.number",
}
_FINISHED = _QUEUED | {
    "state": "CASE WHEN (n.number / 50) % 20 = 0 THEN 'failed' ELSE 'succeeded' END",
    "end_reason": "CASE WHEN (n.number / 50) % 20 = 0 THEN 'node_error' ELSE 'completed' END",
    "attempt": "1",
    "event_seq": "5",
    "worker_id": "'w' || (n.number % 100)",
    "assigned_at": ":since + n.number + 1",
    "started_at": ":since + n.number + 2",
    "finished_at": ":since + n.number + 3",
}


def _add_runs(
    conn: Connection, owners: list[tuple[str, str]], kind: str, numbers: range, columns: Mapping[str, str]
) -> None:
    """Adds runs by one statement: rows that are made by the database take a tenth of the time."""
    named = ", ".join(f"({number}, '{account}', '{workflow}')" for number, (account, workflow) in enumerate(owners))
    conn.execute(
        text(
            "WITH RECURSIVE n (number) AS"
            " (SELECT CAST(:first AS BIGINT) UNION ALL SELECT number + 1 FROM n WHERE number < :last),"
            f" owner (number, account_id, workflow_id) AS (VALUES {named})"
            f" INSERT INTO runs ({', '.join(columns)}) SELECT {', '.join(columns.values())}"
            f" FROM n JOIN owner ON owner.number = n.number % {len(owners)}"
        ),
        {
            "kind": kind,
            "first": numbers.start,
            "last": numbers.stop - 1,
            "prompt": PROMPT,
            "since": now_ms() - 30 * DAY_MS,
        },
    )


def _name(kind: str, number: int) -> str:
    return f"{kind}-{10**15 + number}"


def _count(conn: Connection, kind: str) -> int:
    """The number of runs of a kind that are there: they are numbered without a gap."""
    last = select(runs_table.c.id).where(runs_table.c.id.between(_name(kind, 0), _name(kind, 10**14)))
    found: str | None = conn.scalar(last.order_by(runs_table.c.id.desc()).limit(1))
    return 0 if found is None else int(found.partition("-")[2]) - 10**15 + 1


def _accounts(conn: Connection) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in conn.execute(select(workflows.c.account_id, workflows.c.id))]


def _drop_indexes(conn: Connection) -> None:
    for index in runs_table.indexes:
        index.drop(conn, checkfirst=True)


def _create_indexes(conn: Connection) -> None:
    for index in runs_table.indexes:
        index.create(conn)


def _analyze(conn: Connection) -> None:
    conn.execute(text("ANALYZE"))


def _delete_new(conn: Connection) -> None:
    conn.execute(runs_table.delete().where(runs_table.c.id.startswith(NEW)))


def _position(conn: Connection, run_id: str) -> int:
    run = runs.get_any(conn, run_id)
    assert run is not None
    return runs.queue_position(conn, run)


@contextlib.contextmanager
def _database(kind: str) -> Iterator[Database]:
    with contextlib.ExitStack() as held:
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="cw-bench-"))
        match kind:
            case "sqlite":
                url = f"sqlite:///{folder}/rows.db"
            case "postgresql":
                url = held.enter_context(servers.postgres()).new_database()
            case _:
                url = kind
        db = open_database(url, 6)
        held.callback(db.close)
        yield db


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql, or a URL")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--waiting", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with _database(args.database) as db:
        tables = Tables(db)
        for size in args.sizes:
            tables.fill(size, args.waiting)
            figures: dict[str, object] = {"finished": size, "waiting": args.waiting, **tables.figures()}
            report(f"{args.database}, {size:,} runs, {args.waiting:,} waiting", figures, args.json)


if __name__ == "__main__":
    main()
