"""SQLite: the database of one server, in WAL mode.

There is one writer thread. Writes that wait while a commit is on its way share the next one, each under a savepoint of
its own, so an operation that raises undoes only itself; nobody is answered before the commit is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from comfyward.errors import SetupFailed
from comfyward.store.db import Database
from comfyward.store.revision import upgrade

P = ParamSpec("P")
R = TypeVar("R")

READERS = 4
MAX_SHARED = 64
WAL_PAGES = 10_000  # 40 MB: a checkpoint holds the writer up, and graphs are long


@dataclass
class _Write:
    call: Callable[[Connection], Any]
    future: Future[Any]


class SqliteDatabase(Database):
    """A pool of reader threads and one writer thread over SQLite in WAL mode, durable at every commit."""

    def __init__(self, url: str) -> None:
        self._engine = _sqlite_engine(url)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-read")
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_loop, name="db-write", daemon=True)
        try:
            upgrade(self._engine)
        except SetupFailed:
            self._engine.dispose()
            raise
        self._onlooker = self._engine.connect().execution_options(onlooker=True)
        self._writer.start()

    async def read(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: self._read(operation, *args, **kwargs))

    async def look(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        # At once: the way to a reader's thread and back takes longer than such a look, and in WAL mode nobody makes a
        # reader wait.
        return operation(self._onlooker, *args, **kwargs)

    async def write(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        future: Future[R] = Future()
        self._writes.put(_Write(lambda conn: operation(conn, *args, **kwargs), future))
        # A caller that goes away must not take a write back that others share: the future is shielded.
        return await asyncio.shield(asyncio.wrap_future(future))

    async def leads(self, name: str) -> bool:
        return True

    def close(self) -> None:
        self._writes.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._onlooker.close()
        self._engine.dispose()

    def _read(self, operation: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        with self._engine.connect() as conn:
            return operation(conn, *args, **kwargs)

    def _write_loop(self) -> None:
        with self._engine.connect() as conn:
            while (first := self._writes.get()) is not None:
                batch, closing = self._batch(first)
                self._commit(conn, batch)
                if closing:
                    return

    def _batch(self, first: _Write) -> tuple[list[_Write], bool]:
        batch = [first]
        while len(batch) < MAX_SHARED:
            try:
                write = self._writes.get_nowait()
            except queue.Empty:
                break
            if write is None:
                return batch, True
            batch.append(write)
        return batch, False

    def _commit(self, conn: Connection, batch: list[_Write]) -> None:
        answers: list[tuple[Future[Any], Any, BaseException | None]] = []
        try:
            with conn.begin():
                for write in batch:
                    answers.append((write.future, *_run_alone(conn, write.call, shared=len(batch) > 1)))
        except Exception as error:
            answers = [(write.future, None, error) for write in batch]
        for future, result, failure in answers:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)


def _run_alone(
    conn: Connection, call: Callable[[Connection], Any], *, shared: bool
) -> tuple[Any, BaseException | None]:
    if not shared:
        return call(conn), None
    conn.exec_driver_sql("SAVEPOINT own")
    try:
        result = call(conn)
    except Exception as error:
        conn.exec_driver_sql("ROLLBACK TO SAVEPOINT own")
        return None, error
    finally:
        conn.exec_driver_sql("RELEASE SAVEPOINT own")
    return result, None


def _sqlite_engine(url: str) -> Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"check_same_thread": False}, pool_size=READERS + 3)

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # our own BEGIN below, not the driver's late one
        with contextlib.closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA busy_timeout = 10000")
            cursor.execute("PRAGMA journal_mode = WAL").fetchall()
            cursor.execute("PRAGMA synchronous = FULL")
            cursor.execute("PRAGMA foreign_keys = ON")
            cursor.execute("PRAGMA case_sensitive_like = ON")  # as PostgreSQL has it
            cursor.execute("PRAGMA cache_size = -32000")
            cursor.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")

    def on_begin(conn: Connection) -> None:
        if conn.get_execution_options().get("onlooker"):
            return  # no transaction: it would hold on to its first snapshot
        # The writer takes its lock at once; readers need only a snapshot.
        conn.exec_driver_sql("BEGIN IMMEDIATE" if threading.current_thread().name == "db-write" else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
