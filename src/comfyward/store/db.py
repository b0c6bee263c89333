"""The database: named operations are plain functions `def operation(conn, …)`, run in threads.

    run = await db.read(runs.get, account_id, run_id)
    await db.write(runs.insert, run)
    run = await db.lookup(runs.get, account_id, run_id)

SQLite (one server) and PostgreSQL (any number of servers) run the same operations. What several servers must tell each
other beside their rows goes by `notices`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from comfyward.store.notices import NoOthers, Notices

P = ParamSpec("P")
R = TypeVar("R")


def now_ms() -> int:
    """Milliseconds since the epoch: the unit of every stored time."""
    return time.time_ns() // 1_000_000


class Database(ABC):
    """Runs operations; durable at every write's return."""

    notices: Notices = NoOthers()
    """How servers on the same database tell each other something."""

    @property
    def is_shared(self) -> bool:
        """Whether other servers may use it at the same time."""
        return self.notices.is_shared

    @abstractmethod
    async def read(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs an operation that only reads, on a snapshot of its own."""

    @abstractmethod
    async def lookup(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs an operation that finds a few rows by their keys. Each of its statements sees a snapshot of its own."""

    @abstractmethod
    async def write(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs an operation in a transaction; returns when it is durable. What it raises is undone and raised here.

        It may be run more than once, where another server was in its way, so it must do nothing but what it does to
        rows.
        """

    @abstractmethod
    async def is_leader(self, name: str) -> bool:
        """True if this server is the one that does the work of this name, which only one may do at a time."""

    @abstractmethod
    def close(self) -> None:
        """Finishes the writes that wait, then closes every connection."""
