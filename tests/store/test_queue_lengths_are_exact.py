"""The length of each queue, which is kept beside the runs, is always the number of queued runs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from comfyward.runs.run import EndReason, State
from comfyward.store import accounts, leases, new_runs, queue, runs
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from comfyward.store.schema import runs as table
from tests.store.conftest import Store

POOLS = ("L4", "A100", "H100")
ENVIRONMENTS = ("", "portraits", "portraits@3")
MANY = 60


def test_through_a_runs_life(store: Store) -> None:
    store.new_run("kept")
    store.new_run("moved", fallback_pool="A100", environment="digest", environment_name="portraits@3")
    store.new_run("taken", store.bob)
    assert lengths(store) == ({"L4": 3}, {"default": 2, "portraits": 1})

    taken = store.assign("taken")
    assert lengths(store) == ({"L4": 2}, {"default": 1, "portraits": 1})
    store.write(leases.requeue, taken, avoid_worker_id=None, log=None, now=now_ms(), pool="H100")
    assert lengths(store) == ({"L4": 2, "H100": 1}, {"default": 2, "portraits": 1})
    store.write(queue.fall_back, now_ms() + 1)
    assert lengths(store) == ({"L4": 1, "A100": 1, "H100": 1}, {"default": 2, "portraits": 1})
    store.write(end, "moved")
    assert lengths(store) == ({"L4": 1, "H100": 1}, {"default": 2})
    store.write(accounts.erase, store.bob.id)
    assert lengths(store) == ({"L4": 1}, {"default": 1})


def test_the_oldest_run_of_each_pool_is_found_whatever_its_environment(store: Store) -> None:
    store.new_run("later", created_at=20, environment="a")
    store.new_run("first", created_at=10, environment="b")
    store.new_run("other", created_at=30, pool="A100")

    assert store.read(queue.oldest) == {"L4": 10, "A100": 30}


def test_a_transaction_that_is_rolled_back_counts_nothing(store: Store) -> None:
    kept, lost = store.row("run"), store.row("lost")

    async def two() -> list[Any]:
        return await asyncio.gather(
            store.db.write(new_runs.add, kept), store.db.write(fails, lost), return_exceptions=True
        )

    assert [type(each) for each in asyncio.run(two())] == [str, ZeroDivisionError]
    assert lengths(store) == ({"L4": 1}, {"default": 1})


def test_while_many_are_queued_assigned_requeued_and_ended_at_once_by_two_servers(
    store: Store, other_server: Database
) -> None:
    async def lives() -> None:
        await asyncio.gather(*(life(number, rows[number]) for number in range(MANY)))

    async def life(number: int, row: new_runs.NewRun) -> None:
        chosen = random.Random(number)
        here = (store.db, other_server)[number % 2]
        await here.write(new_runs.add, row)
        for _ in range(chosen.randrange(4)):
            there = chosen.choice((store.db, other_server))
            lease = leases.NewLease(row.id, "w", "d", f"lease-{number}")
            [run] = await there.write(leases.assign, [lease], expires_at=now_ms() + 10_000, now=now_ms())
            pool = chosen.choice([None, *POOLS])
            await there.write(leases.requeue, run, avoid_worker_id=None, log=None, now=now_ms(), pool=pool)
        if chosen.random() < 0.5:
            await here.write(end, row.id)

    rows = [
        store.row(
            f"run-{number}",
            (store.alice, store.bob)[number % 2],
            pool=POOLS[number % 3],
            environment_name=ENVIRONMENTS[number % 3],
        )
        for number in range(MANY)
    ]
    asyncio.run(lives())

    found, by_environment = lengths(store)
    counted = store.read(count)
    assert found == counted
    assert 0 < sum(counted.values()) < MANY
    assert sum(by_environment.values()) == sum(counted.values())


@pytest.fixture
def other_server(store: Store, database_url: str) -> Iterator[Database]:
    """A second server on the database; SQLite has only one."""
    if not store.db.is_shared:
        yield store.db
        return
    db = open_database(database_url, 6)
    yield db
    db.close()


def lengths(store: Store) -> tuple[dict[str, int], dict[str, int]]:
    return store.read(queue.lengths), dict(store.read(queue.queued_by_environment))


def count(conn: Connection) -> dict[str, int]:
    query = select(table.c.pool, func.count()).where(table.c.state == State.QUEUED).group_by(table.c.pool)
    return {pool: int(number) for pool, number in conn.execute(query)}


def fails(conn: Connection, row: new_runs.NewRun) -> None:
    new_runs.add(conn, row)
    raise ZeroDivisionError


def end(conn: Connection, run_id: str) -> None:
    run = runs.get_any(conn, run_id)
    assert run is not None
    over = {"state": State.CANCELLED, "reason": EndReason.CANCELLED, "failure": None, "outputs": None}
    over |= {"node_results": None, "previews": None, "run_time_ms": None, "log": None, "events": 1}
    assert leases.finish(conn, run, now=now_ms(), **over) is not None
