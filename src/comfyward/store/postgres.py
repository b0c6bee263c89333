"""PostgreSQL: the database of any number of servers.

Operations run in threads, on connections of their own; writes that wait share a transaction. Those that another server
was in the way of (a deadlock, a row that both wanted to write first) run again; while the database is away (a restart,
a failover, no free connection) they wait for it for a while.
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
from comfyward.ids import number_of
from comfyward.store import revision
from comfyward.store.db import Database
from comfyward.store.statement import run_whole
from comfyward.store.writers import Outcome, Write, Writers

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

PATIENCE_S = 10.0
MAX_TRIES = 8
WRITERS = 2  # of more, each commit is shared by fewer writes; one alone would make all wait for a slow one
SPARE_CONNECTIONS = 2  # beside those that operations use: leadership, and one for a start or a check
# Two shared transactions can each wait for a row of the other's; PostgreSQL looks for that after a second only.
LOCK_PATIENCE_MS = 150
UPGRADING = number_of("upgrading")
# TCP gives up on a vanished host after minutes; a failover should take seconds.
CONNECT_ARGUMENTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "comfyward",
}


class _Trouble(Enum):
    AWAY = "away"
    IN_THE_WAY = "in the way"
    HELD_UP = "held up"
    UNSTORABLE = "unstorable"
    OTHER = "other"


class _Away(Unavailable):
    """The database is, for longer than anybody should wait."""


class PostgresDatabase(Database):
    """A pool of connections and the threads that use them. An empty database gets its tables at once."""

    def __init__(self, url: URL, connections: int) -> None:
        _prepare(url)
        self._engine = open_engine(url, connections)
        event.listen(self._engine, "connect", _limit_waits)
        # Made once: SQLAlchemy sets an engine of other options up anew each time it is asked for one.
        self._reading = self._engine.execution_options(isolation_level="REPEATABLE READ")
        self._lookups = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._writing = self._engine.execution_options(isolation_level="READ COMMITTED")
        self._readers = ThreadPoolExecutor(max(2, connections - WRITERS), thread_name_prefix="db-read")
        self._writers = Writers(WRITERS, self._commit)
        self._leadership = _Leadership(self._engine)
        from comfyward.store.postgres_notices import PostgresNotices

        self.notices = PostgresNotices(url)

    async def read(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await _run(self._readers, self._reading, lambda conn: operation(conn, *args, **kwargs))

    async def lookup(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await _run(self._readers, self._lookups, lambda conn: operation(conn, *args, **kwargs))

    async def write(self, operation: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._writers.write(lambda conn: operation(conn, *args, **kwargs))

    async def is_leader(self, name: str) -> bool:
        return await self._leadership.holds(name)

    def close(self) -> None:
        self._writers.close()
        self._readers.shutdown()
        self._leadership.close()
        self._engine.dispose()

    def _commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """All in one transaction; when one of them raises, each in its own."""
        patient_until = max(write.asked_at_s for write in writes) + PATIENCE_S
        if len(writes) == 1:
            return [self._commit_alone(writes[0], patient_until)]

        def all_of_them(conn: Connection) -> list[Any]:
            return [write.call(conn) for write in writes]

        try:
            return [Outcome(result) for result in _insist(self._writing, all_of_them, patient_until, shared=True)]
        except _Away as error:
            return [Outcome(failure=error)] * len(writes)
        except Exception as error:
            log.debug("%d writes are not shared, since one fails: %r", len(writes), error)
        outcomes: list[Outcome] = []
        for write in writes:
            outcomes.append(self._commit_alone(write, patient_until))
            if isinstance(outcomes[-1].failure, _Away):  # the others need not wait for that one after the other
                break
        return outcomes + outcomes[-1:] * (len(writes) - len(outcomes))

    def _commit_alone(self, write: Write, patient_until: float) -> Outcome:
        try:
            return Outcome(_insist(self._writing, write.call, patient_until))
        except Exception as error:
            return Outcome(failure=error)


def open_engine(url: URL, connections: int) -> Engine:
    """Raises SetupFailed when the driver is not installed."""
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=connections + SPARE_CONNECTIONS,
            max_overflow=0,
            pool_use_lifo=True,  # the connection that was used last has its statements prepared
            connect_args=CONNECT_ARGUMENTS,
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise SetupFailed(
            "PostgreSQL needs a driver that is not installed.", hint="pip install 'comfyward[postgres]'"
        ) from error


def reach(engine: Engine) -> Connection:
    """A connection. Raises SetupFailed, saying which part of the URL to look at."""
    try:
        return engine.connect()
    except OperationalError as error:
        where = engine.url.render_as_string(hide_password=True).replace("postgresql+psycopg", "postgresql")
        reason = " ".join(str(error.orig).split())
        raise SetupFailed(
            f"The database at {where} cannot be used: {reason}.", hint=f"{_advice(reason)} (COMFYWARD_DATABASE_URL)"
        ) from error


def upgrade(engine: Engine) -> None:
    """Makes or renews the tables; of several servers that begin at once, one does it and the others wait."""
    with reach(engine) as conn, conn.begin():
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
        revision.upgrade(engine)


def _prepare(url: URL) -> None:
    """Tables for an empty database; raises SetupFailed when it cannot be used as it is."""
    engine = open_engine(url, 1)
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

    with contextlib.suppress(psycopg.Error):  # it fails again at its first use, where that is dealt with
        connection.execute(f"SET lock_timeout = {LOCK_PATIENCE_MS}")
        connection.commit()


def _advice(reason: str) -> str:
    if "password authentication failed" in reason or "no password supplied" in reason:
        return "Check the user and the password."
    if "does not exist" in reason:
        return "Create it first, or check its name."
    return "Check the host and the port, and that PostgreSQL is running."


async def _run(threads: ThreadPoolExecutor, engine: Engine, call: Callable[[Connection], R]) -> R:
    patient_until = time.monotonic() + PATIENCE_S
    return await asyncio.get_running_loop().run_in_executor(threads, _insist, engine, call, patient_until)


def _insist(engine: Engine, call: Callable[[Connection], R], patient_until: float, *, shared: bool = False) -> R:
    """What the operation returns; tried again while that may help. A shared one is not: alone, its parts may do."""
    for tries in range(1, 1_000_000):
        try:
            return _once(engine, call)
        except DBAPIError as error:
            match _trouble(error):
                case _Trouble.AWAY if time.monotonic() < patient_until:
                    time.sleep(random.uniform(0.05, 0.3))  # noqa: S311  spreads servers apart
                case _Trouble.AWAY:
                    raise _Away("The database cannot be reached.") from error
                case _ if shared:
                    raise
                case _Trouble.IN_THE_WAY if tries < MAX_TRIES:
                    time.sleep(random.uniform(0, 0.01 * tries))  # noqa: S311
                case _Trouble.HELD_UP if time.monotonic() < patient_until:
                    continue
                case _Trouble.HELD_UP:
                    raise Unavailable("Somebody else holds on to what is to be changed.") from error
                case _Trouble.UNSTORABLE:
                    raise InvalidRequest(_unstorable(error)) from error
                case _:
                    raise
    raise AssertionError("unreachable")


def _once(engine: Engine, call: Callable[[Connection], R]) -> R:
    with engine.connect() as conn:
        result = run_whole(conn, call)
        try:
            conn.commit()
        except DBAPIError as error:
            if _trouble(error) is _Trouble.AWAY:
                # Whether it was committed is not known: running it again could do it twice.
                raise _Away("The database went away in the middle of a change.") from error
            raise
    return result


def _trouble(error: DBAPIError) -> _Trouble:
    state = getattr(error.orig, "sqlstate", None) or ""
    if state in ("40001", "40P01", "23505"):
        return _Trouble.IN_THE_WAY
    if state == "55P03":
        return _Trouble.HELD_UP
    if state.startswith("22"):
        return _Trouble.UNSTORABLE
    if error.connection_invalidated or state.startswith(("08", "57P", "53300")):
        return _Trouble.AWAY
    if isinstance(error, OperationalError) and not state:
        return _Trouble.AWAY
    return _Trouble.UNSTORABLE if "NUL" in str(error.orig) else _Trouble.OTHER


def _unstorable(error: DBAPIError) -> str:
    reason = " ".join(str(error.orig).split("\n")[0].split())
    return f"A value cannot be stored: {reason}."


class _Leadership:
    """Leadership as advisory locks of one connection: they end with it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
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
            taken = self._conn.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": number_of(name)})
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
                conn.invalidate()  # closed, not returned to the pool with its locks
                conn.close()
