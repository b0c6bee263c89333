"""PostgreSQL: the database of any number of servers.

Operations run in threads, each on its own connection; pending writes share a transaction. An operation that conflicts
with another server (a deadlock, two inserts of the same key) runs again. While the database is unreachable (a restart,
a failover, no free connection), operations wait for it, up to RETRY_FOR_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, OperationalError

from comfyward.errors import InvalidRequest, SetupFailed, Unavailable
from comfyward.ids import advisory_lock_id
from comfyward.store import revision
from comfyward.store.db import Database
from comfyward.store.statement import Answer, Question, run_whole
from comfyward.store.writers import Outcome, Write, Writers, run_together

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

RETRY_FOR_S = 10.0
MAX_TRIES = 8
WRITERS = 2  # with more, each commit is shared by fewer writes; with one, a slow write holds up all others
SPARE_CONNECTIONS = 2  # beside those for operations: leadership, and startup or checks
# Two shared transactions can deadlock; PostgreSQL checks for deadlocks only after a second.
LOCK_TIMEOUT_MS = 150
UPGRADING = advisory_lock_id("upgrading")
# TCP gives up on a vanished host after minutes; a failover should take seconds.
CONNECT_ARGUMENTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "comfyward",
}


class _Fault(Enum):
    UNREACHABLE = "unreachable"
    CONFLICT = "conflict"
    LOCKED = "locked"
    INVALID_VALUE = "invalid value"
    OTHER = "other"


class _Unreachable(Unavailable):
    """The database is unreachable, and has been for RETRY_FOR_S."""


class PostgresDatabase(Database):
    """A pool of connections and threads that use them. Creates the tables in an empty database."""

    def __init__(self, url: URL, connections: int) -> None:
        _prepare(url)
        self._lookups = open_engine(url, connections - WRITERS + SPARE_CONNECTIONS, isolation_level="AUTOCOMMIT")
        # A pool of their own: each statement is prepared in two connections, which alone count the queues (0027).
        self._writing = open_engine(url, WRITERS, isolation_level="READ COMMITTED")
        # Created once: SQLAlchemy sets up an engine anew each time it is asked for one with other options.
        self._reading = self._lookups.execution_options(isolation_level="REPEATABLE READ")
        for engine in (self._lookups, self._writing):
            event.listen(engine, "connect", _limit_waits)
        self._readers = ThreadPoolExecutor(max(2, connections - WRITERS), thread_name_prefix="db-read")
        self._writers = Writers(WRITERS, self._commit)
        self._leadership = _Leadership(self._lookups)
        from comfyward.store.postgres_notices import PostgresNotices

        self.notices = PostgresNotices(url)

    async def read(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await _run(self._readers, self._reading, lambda conn: operation(conn, *args, **kwargs))

    async def lookup(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await _run(self._readers, self._lookups, lambda conn: operation(conn, *args, **kwargs))

    async def write(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._writers.write(lambda conn: operation(conn, *args, **kwargs))

    async def write_after(
        self,
        first: Question,
        operation: Callable[Concatenate[Connection, Answer, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        return await self._writers.write(lambda conn, answer: operation(conn, answer, *args, **kwargs), first)

    async def is_leader(self, name: str) -> bool:
        return await self._leadership.holds(name)

    def close(self) -> None:
        self._writers.close()
        self._readers.shutdown()
        self._leadership.close()
        self._lookups.dispose()
        self._writing.dispose()

    def _commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Runs all writes in one transaction; if one raises, each in its own."""
        retry_until = max(write.asked_at_s for write in writes) + RETRY_FOR_S
        if len(writes) == 1:
            return [self._commit_alone(writes[0], retry_until)]

        def all_of_them(conn: Connection) -> list[Any]:
            return run_together(conn, writes)

        try:
            return [Outcome(result) for result in _with_retries(self._writing, all_of_them, retry_until, shared=True)]
        except _Unreachable as error:
            return [Outcome(failure=error)] * len(writes)
        except Exception as error:
            log.debug("running %d writes separately: %r", len(writes), error)
        outcomes: list[Outcome] = []
        for write in writes:
            outcomes.append(self._commit_alone(write, retry_until))
            if isinstance(outcomes[-1].failure, _Unreachable):  # the others need not wait for it in turn
                break
        return outcomes + outcomes[-1:] * (len(writes) - len(outcomes))

    def _commit_alone(self, write: Write, retry_until: float) -> Outcome:
        try:
            return Outcome(_with_retries(self._writing, write.run, retry_until))
        except Exception as error:
            return Outcome(failure=error)


def open_engine(url: URL, connections: int, **more: Any) -> Engine:
    """Raises SetupFailed when the driver is not installed."""
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=connections,
            max_overflow=0,
            pool_use_lifo=True,  # the connection that was used last has its statements prepared
            connect_args=CONNECT_ARGUMENTS,
            **more,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise SetupFailed(
            "PostgreSQL needs a driver that is not installed.", hint="pip install 'comfyward[postgres]'"
        ) from error


def reach(engine: Engine) -> Connection:
    """Connects. Raises SetupFailed, naming the part of the URL to check."""
    try:
        return engine.connect()
    except OperationalError as error:
        where = engine.url.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql")
        reason = " ".join(str(error.orig).split())
        raise SetupFailed(
            f"The database at {where} cannot be used: {reason}.", hint=f"{_advice(reason)} (COMFYWARD_DATABASE_URL)"
        ) from error


def upgrade(engine: Engine) -> None:
    """Creates or upgrades the tables. If several servers start at once, one does it and the others wait."""
    with reach(engine) as conn, conn.begin():
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
        revision.upgrade(engine)


def _prepare(url: URL) -> None:
    """Creates the tables in an empty database. Raises SetupFailed if the database cannot be used as it is."""
    engine = open_engine(url, 1 + SPARE_CONNECTIONS)
    try:
        with reach(engine) as conn:
            is_empty = revision.present(conn) is None
        if is_empty:
            upgrade(engine)
        with engine.connect() as conn:
            revision.check(conn)
    finally:
        engine.dispose()


def _limit_waits(connection: Any, _record: object) -> None:
    import psycopg

    with contextlib.suppress(psycopg.Error):  # its first use fails again, and is handled there
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        connection.commit()


def _advice(reason: str) -> str:
    if "password authentication failed" in reason or "no password supplied" in reason:
        return "Check the user and the password."
    if "does not exist" in reason:
        return "Create it first, or check its name."
    return "Check the host and the port, and that PostgreSQL is running."


async def _run(threads: ThreadPoolExecutor, engine: Engine, call: Callable[[Connection], R]) -> R:
    retry_until = time.monotonic() + RETRY_FOR_S
    return await asyncio.get_running_loop().run_in_executor(threads, _with_retries, engine, call, retry_until)


def _with_retries(engine: Engine, call: Callable[[Connection], R], retry_until: float, *, shared: bool = False) -> R:
    """Runs an operation, again while that may help, and returns its result.

    With `shared` it gives up at the first conflict: the caller then runs each write separately.
    """
    for tries in range(1, 1_000_000):
        try:
            return _once(engine, call)
        except DBAPIError as error:
            match _fault_of(error):
                case _Fault.UNREACHABLE if time.monotonic() < retry_until:
                    time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  spreads servers apart
                case _Fault.UNREACHABLE:
                    raise _Unreachable("The database cannot be reached.") from error
                case _ if shared:
                    raise
                case _Fault.CONFLICT if tries < MAX_TRIES:
                    time.sleep(random.uniform(0, 0.01 * tries))  # noqa: S311
                case _Fault.LOCKED if time.monotonic() < retry_until:
                    continue
                case _Fault.LOCKED:
                    raise Unavailable("The row is locked by another transaction.") from error
                case _Fault.INVALID_VALUE:
                    raise InvalidRequest(_invalid_value(error)) from error
                case _:
                    raise
    raise AssertionError("unreachable")


def _once(engine: Engine, call: Callable[[Connection], R]) -> R:
    with engine.connect() as conn:
        result = run_whole(conn, call)
        try:
            conn.commit()
        except DBAPIError as error:
            if _fault_of(error) is _Fault.UNREACHABLE:
                # It may or may not be committed: running it again could do it twice.
                raise _Unreachable("The connection to the database was lost during a commit.") from error
            raise
    return result


def _fault_of(error: DBAPIError) -> _Fault:
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in ("40001", "40P01", "23505"):
        return _Fault.CONFLICT
    if state == "55P03":
        return _Fault.LOCKED
    if state.startswith("22"):
        return _Fault.INVALID_VALUE
    if error.connection_invalidated or state.startswith(("08", "57P", "53300")):
        return _Fault.UNREACHABLE
    if isinstance(error, OperationalError) and not state:
        return _Fault.UNREACHABLE
    return _Fault.INVALID_VALUE if "NUL" in str(error.orig) else _Fault.OTHER


def _invalid_value(error: DBAPIError) -> str:
    reason = " ".join(str(error.orig).split("\n")[0].split())
    return f"A value cannot be stored: {reason}."


class _Leadership:
    """Leadership by advisory locks, held by one connection: when it closes, another server may lead."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="db-lead")
        self._conn: Connection | None = None
        self._held: set[str] = set()

    async def holds(self, name: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._holds, name)

    def close(self) -> None:
        self._thread.submit(self._drop).result()
        self._thread.shutdown()

    def _holds(self, name: str) -> bool:
        try:
            if self._conn is None:
                self._conn = self._engine.connect()
            if name in self._held:
                self._conn.execute(text("SELECT 1"))
                return True
            taken = self._conn.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": advisory_lock_id(name)})
        except DBAPIError:
            self._drop()
            return False
        if taken:
            self._held.add(name)
        return bool(taken)

    def _drop(self) -> None:
        self._held.clear()
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(DBAPIError):
                conn.invalidate()  # closed, rather than returned to the pool with its locks
                conn.close()
