"""A database with two accounts, for the conformance suite of the store's operations."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from comfyward.accounts.account import Account
from comfyward.dispatch import recorder
from comfyward.runs.run import Api
from comfyward.store import accounts, leases, new_runs
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from comfyward.store.schema import workflows
from comfyward.worker.protocol import Numbered
from tests.servers import Postgres, sqlite_with_tables


@dataclass
class Store:
    """Runs operations as the server does, from a test that is not asynchronous."""

    db: Database
    alice: Account
    bob: Account

    def write(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self.db.write(operation, *args, **kwargs))

    def record(self, lease: str, reports: Sequence[Numbered]) -> Any:
        first = recorder._beginning(lease, reports[0])
        return asyncio.run(self.db.write_after(first.question, recorder._apply, lease, reports, first.change_of))

    def read(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return asyncio.run(self.db.read(operation, *args, **kwargs))

    def default_workflow(self, account: Account) -> str:
        query = select(workflows.c.id).where(workflows.c.account_id == account.id)
        return str(self.read(lambda conn: conn.scalar(query)))

    def new_run(self, run_id: str, account: Account | None = None, **changes: Any) -> str:
        """A queued run."""
        return str(self.write(new_runs.add, self.row(run_id, account, **changes)))

    def row(self, run_id: str, account: Account | None = None, **changes: Any) -> new_runs.NewRun:
        """A run to insert."""
        owner = account or self.alice
        values: dict[str, Any] = {
            "id": run_id,
            "account_id": owner.id,
            "workflow_id": self.default_workflow(owner),
            "api_key_id": None,
            "prompt_id": f"prompt-{run_id}",
            "submitted_via": Api.ICU,
            "client_id": None,
            "accelerator": "L4",
            "pool": "L4",
            "environment": "default",
            "priority": 0,
            "timeout_s": 60.0,
            "max_attempts": 3,
            "prompt": "{}",
            "extra_data": None,
            "files": {},
            "models": [],
            "metadata": {},
            "webhook": None,
            "tags": [],
            "labels": {},
            "idempotency_key": None,
            "request_digest": "digest",
            "created_at": now_ms(),
        }
        return new_runs.NewRun(**(values | changes))

    def assign(
        self, run_id: str, lease: str = "lease", worker_id: str = "w", lease_ms: int = 10_000, price: float = 0.0
    ) -> Any:
        now = now_ms()
        new_lease = leases.NewLease(run_id, worker_id, "d", lease, price)
        return next(iter(self.write(leases.assign, [new_lease], expires_at=now + lease_ms, now=now)), None)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, with tables and no rows."""
    if request.param == "sqlite":
        copied = shutil.copy(sqlite_with_tables(), tmp_path / "test.db")
        return f"sqlite:///{copied}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database_with_tables()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    db = open_database(database_url, 6)
    alice, bob = (asyncio.run(db.write(accounts.create, name, "member", None, now_ms())) for name in ("alice", "bob"))
    yield Store(db, alice, bob)
    db.close()
