"""SQLite: the database of one server, in WAL mode.

There is one writer thread. Writes that arrive during a commit share the next one, each under its own savepoint, so an
operation that raises rolls back only itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from comfyward.errors import SetupFailed
from comfyward.store.db import Database
from comfyward.store.revision import upgrade
from comfyward.store.statement import run_whole
from comfyward.store.writers import Outcome, Write, Writers

P = ParamSpec("P")
R = TypeVar("R")

READERS = 4
WAL_PAGES = 10_000  # 40 MB: a checkpoint blocks the writer, and graphs are long


class SqliteDatabase(Database):
    """A pool of reader threads and one writer thread over SQLite in WAL mode, durable at every commit."""

    def __init__(self, url: str) -> None:
        self._engine = _sqlite_engine(url)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        try:
            upgrade(self._engine)
        except SetupFailed:
            self._engine.dispose()
            raise
        self._lookups = self._engine.connect().execution_options(lookups=True)
        self._writing = self._engine.connect()
        self._writers = Writers(1, self._commit)

    async def read(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self._read(operation, *args, **kwargs))

    async def lookup(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        # On the event loop: a lookup takes less time than a trip to a reader thread and back, and in WAL mode readers
        # never wait.
        return operation(self._lookups, *args, **kwargs)

    async def write(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._writers.write(lambda conn: operation(conn, *args, **kwargs))

    async def is_leader(self, name: str) -> bool:
        return True

    def close(self) -> None:
        self._writers.close()
        self._readers.shutdown()
        for conn in (self._writing, self._lookups):
            conn.close()
        self._engine.dispose()

    def _read(self, operation: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        with self._engine.connect() as conn:
            return operation(conn, *args, **kwargs)

    def _commit(self, writes: Sequence[Write]) -> list[Outcome]:
        try:
            with self._writing.begin():
                return [_run_alone(self._writing, write.call, shared=len(writes) > 1) for write in writes]
        except Exception as error:
            return [Outcome(failure=error) for _ in writes]


def _run_alone(conn: Connection, call: Callable[[Connection], Any], *, shared: bool) -> Outcome:
    if not shared:
        return Outcome(run_whole(conn, call))
    driver: sqlite3.Connection = conn.connection.dbapi_connection  # type: ignore[assignment]
    driver.execute("SAVEPOINT own")
    try:
        return Outcome(run_whole(conn, call))
    except Exception as error:
        driver.execute("ROLLBACK TO SAVEPOINT own")
        return Outcome(failure=error)
    finally:
        driver.execute("RELEASE SAVEPOINT own")


def _sqlite_engine(url: str) -> Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False}, pool_size=READERS + 3)

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # BEGIN is issued below, earlier than the driver would
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA busy_timeout = 10000")
            cursor.execute("PRAGMA journal_mode = WAL").fetchall()
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA case_sensitive_like = ON")  # like PostgreSQL
            cursor.execute("PRAGMA cache_size = -32000")
            cursor.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")

    def on_begin(conn: Connection) -> None:
        if conn.get_execution_options().get("lookups"):
            return  # no transaction: it would keep its first snapshot
        # The writer takes its lock at once; readers need only a snapshot.
        conn.exec_driver_sql("BEGIN IMMEDIATE" if threading.current_thread().name == "db-write" else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
