"""The database: named operations are plain functions `def operation(conn, …)`, run in threads.

    run = await db.read(runs.get, account_id, run_id)
    await db.write(runs.insert, run)
    run = await db.lookup(runs.get, account_id, run_id)

SQLite (one server) and PostgreSQL (any number of servers) run the same operations. Servers on one database also send
each other `notices`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from comfyward.store.notices import NoOthers, Notices
from comfyward.store.statement import Answer, Question

P = ParamSpec("P")
R = TypeVar("R")


def now_ms() -> int:
    """Milliseconds since the epoch: the unit of every stored time."""
    return time.time_ns() // 1_000_000


class Database(ABC):
    """Runs operations. A write is durable when it returns."""

    notices: Notices = NoOthers()
    """Messages between the servers on this database."""

    @property
    def is_shared(self) -> bool:
        """True if other servers may use it at the same time."""
        return self.notices.is_shared

    @abstractmethod
    async def read(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs an operation that only reads: all its statements see one snapshot. For lists and joins."""

    @abstractmethod
    async def lookup(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs an operation that reads a few rows by key, at the lowest cost: no transaction, a snapshot per statement.

        On SQLite it runs on the event loop, so it must not scan.
        """

    @abstractmethod
    async def write(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs an operation in a transaction and returns its result once durable. If it raises, it is rolled back.

        An operation may run more than once (after a conflict with another server), so it must have no effect other
        than on rows.
        """

    async def write_after(
        self,
        first: Question,
        operation: Callable[Concatenate[Connection, Answer, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """As `write`, for an operation that begins with a statement, whose answer it gets beside the connection.

        PostgreSQL is asked the first statements of all writes that share a transaction in one trip, before the rest.
        """
        return await self.write(lambda conn: operation(conn, first.ask(conn), *args, **kwargs))

    @abstractmethod
    async def is_leader(self, name: str) -> bool:
        """True if this server is the one that does the work of this name, which only one may do at a time."""

    @abstractmethod
    def close(self) -> None:
        """Finishes the pending writes, then closes every connection."""
