"""Writes that wait share a commit, and one that raises undoes only itself."""

import asyncio
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine

from comfyward.errors import Conflict, IdempotencyMismatch, MissingAsset
from comfyward.runs.event import Event, Status
from comfyward.runs.run import PublicStatus, State
from comfyward.store import accounts, blobs, events, queue, runs
from comfyward.store.backends import open_database
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from comfyward.store.schema import metadata
from tests.store.conftest import Store

QUEUED = Status(PublicStatus.QUEUED, State.QUEUED, None)


def test_a_write_that_raises_undoes_only_itself(database_url: str) -> None:
    db = open_database(database_url)

    def create_then_fail(conn: Connection) -> None:
        accounts.create(conn, "undone", "member", None, now_ms())
        raise Conflict("no")

    async def together() -> list[object]:
        writes = [db.write(accounts.create, f"a{number}", "member", None, now_ms()) for number in range(20)]
        writes.insert(10, db.write(create_then_fail))
        return await asyncio.gather(*writes, return_exceptions=True)

    answers = asyncio.run(together())
    names = {account.name for account in asyncio.run(db.read(accounts.find))}
    db.close()

    assert isinstance(answers[10], Conflict)
    assert names == {f"a{number}" for number in range(20)}


def test_deferred_work_of_a_failed_write_is_discarded(database_url: str) -> None:
    db = open_database(database_url)
    alice = asyncio.run(db.write(accounts.create, "alice", "member", None, now_ms()))
    store = Store(db, alice, alice)
    names = [store.new_run(f"run-{number}") for number in range(12)]

    def tell(conn: Connection, run_id: str) -> None:
        events.add(conn, [Event(run_id, alice.id, QUEUED, 1)], now_ms())
        if run_id == "run-5":
            raise Conflict("no")

    async def together() -> list[object]:
        return await asyncio.gather(*(db.write(tell, name) for name in names), return_exceptions=True)

    answers = asyncio.run(together())
    asyncio.run(db.write(accounts.create, "bob", "member", None, now_ms()))  # a later one brings nothing back
    told = [name for name in names if store.read(events.after, alice.id, name, 0)]
    db.close()

    assert isinstance(answers[5], Conflict)
    assert told == [name for name in names if name != "run-5"]


def test_a_cancelled_caller_does_not_undo_its_write(database_url: str) -> None:
    db = open_database(database_url)
    begun, may_end = threading.Event(), threading.Event()

    def create_slowly(conn: Connection) -> None:
        begun.set()
        may_end.wait(120)
        accounts.create(conn, "slow", "member", None, now_ms())

    async def leave() -> set[str]:
        waiting = asyncio.create_task(db.write(create_slowly))
        await asyncio.to_thread(begun.wait, 10)
        waiting.cancel()
        may_end.set()
        await asyncio.gather(waiting, return_exceptions=True)
        await asyncio.gather(*(db.write(accounts.create, f"a{n}", "member", None, now_ms()) for n in range(4)))
        return {account.name for account in await db.read(accounts.find)}

    found = asyncio.run(leave())
    db.close()  # waits for what has begun
    again = open_database(database_url)
    kept = {account.name for account in asyncio.run(again.read(accounts.find))}
    again.close()

    assert {"a0", "a1", "a2", "a3"} <= found
    assert kept == {"slow", "a0", "a1", "a2", "a3"}


INDEXES_BY_EXPRESSIONS = ("ix_runs_queue", "ix_files_below")


def test_what_was_written_is_there_after_a_restart(database_url: str) -> None:
    db = open_database(database_url)
    asyncio.run(db.write(accounts.create, "alice", "member", None, now_ms()))
    db.close()

    again = open_database(database_url)
    assert [account.name for account in asyncio.run(again.read(accounts.find))] == ["alice"]
    again.close()


def test_the_migrations_make_the_schema(database_url: str) -> None:
    open_database(database_url).close()
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as conn:
        # An index with an expression cannot be compared; that it is there is tested with the hot statements.
        options = {"compare_type": True, "include_object": lambda _, name, *more: name not in INDEXES_BY_EXPRESSIONS}
        context = MigrationContext.configure(conn, opts=options)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_an_idempotency_key_makes_one_run(store: Store) -> None:
    assert store.new_run("first", idempotency_key="k") == "first"
    assert store.new_run("second", idempotency_key="k") == "first"
    assert store.new_run("bobs", store.bob, idempotency_key="k") == "bobs"
    with pytest.raises(IdempotencyMismatch):
        store.new_run("third", idempotency_key="k", request_digest="another")
    assert len(store.read(runs.find, store.alice.id, RunFilter())) == 1


def test_the_queue_is_by_priority_then_age(store: Store) -> None:
    for name, priority, created_at in (("old", 0, 1), ("urgent", 5, 3), ("new", 0, 2), ("late", -1, 0)):
        store.new_run(name, priority=priority, created_at=created_at)
    store.new_run("elsewhere", pool="T4")

    heads = store.read(queue.heads, {"L4": ["default"]}, 10)

    assert [head.id for head in heads] == ["urgent", "old", "new", "late"]
    assert store.read(queue.lengths) == {"L4": 4, "T4": 1}


def test_a_blob_is_swept_only_when_nothing_needs_it(store: Store) -> None:
    used, unused, fresh = ("a" * 64, "b" * 64, "c" * 64)
    for digest, created_at in ((used, 1), (unused, 1), (fresh, 100)):
        store.write(blobs.add, digest, "s" * 64, 1, created_at)
    store.new_run("r", files={"/input/a": {"blob": used, "size": 1}})

    assert store.read(blobs.orphans, 50) == [unused]
    store.write(blobs.add, unused, "s" * 64, 1, 100)  # stored again meanwhile
    assert store.write(blobs.begin_removal, unused, 50, 200) is False


def test_a_blob_being_removed_cannot_be_used(store: Store) -> None:
    digest = "a" * 64
    store.write(blobs.add, digest, "s" * 64, 1, 1)
    assert store.write(blobs.begin_removal, digest, 50, 200) is True

    assert store.read(blobs.is_stored, digest) is False
    assert store.write(blobs.touch, digest, 300) is False
    with pytest.raises(MissingAsset):
        store.new_run("r", files={"/input/a": {"blob": digest, "size": 1}})
    assert store.read(blobs.orphans, 50) == [digest]  # if the sweep dies here, the next one goes on

    store.write(blobs.finish_removal, digest)
    assert store.write(blobs.touch, digest, 300) is True  # nothing is in the way of storing it again
