"""Two servers on one PostgreSQL: each run is handed out once, notices arrive, one leads, a restart goes unnoticed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, text

from comfyward.accounts.storage import Quota
from comfyward.delivery.hub import Hub
from comfyward.delivery.relay import Relay
from comfyward.errors import InvalidRequest, OverQuota, SetupFailed, Unavailable
from comfyward.runs.event import Event, Status
from comfyward.runs.run import PublicStatus, Run, State
from comfyward.store import accounts, blobs, files, leases, queue, runs, uploads
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from comfyward.store.files import StoredFile
from comfyward.store.notices import LogUploaded, Notice, RunEvents, Wake
from comfyward.store.postgres import WRITERS
from comfyward.store.uploads import Upload
from tests.servers import Postgres
from tests.stack.stack import END_TIMEOUT_S
from tests.store.conftest import Store

RUNNING = Status(PublicStatus.STARTED, State.RUNNING, None)
SUCCEEDED = Status(PublicStatus.COMPLETED, State.SUCCEEDED, None)


@pytest.fixture
def servers(postgres: Postgres) -> Iterator[tuple[Database, Database]]:
    url = postgres.new_database_with_tables()
    both = open_database(url, 6), open_database(url, 6)
    yield both
    for db in both:
        db.close()


def test_each_run_is_handed_out_once(servers: tuple[Database, Database]) -> None:
    one, other = servers
    alice = asyncio.run(one.write(accounts.create, "alice", "member", None, now_ms()))
    store = Store(one, alice, alice)
    waiting = {store.new_run(f"run-{number}") for number in range(60)}
    together = threading.Barrier(8)

    def take_all(number: int) -> list[str]:
        """As a server's loop: looks at the queue, takes what it can, until nothing waits."""
        db, taken = servers[number % 2], []
        together.wait()
        while heads := asyncio.run(db.read(queue.heads, {"L4": ["default"]}, 5)):
            for head in heads:
                if run := asyncio.run(db.write(_assign, head.id, f"worker-{number}")):
                    taken.append(run.id)
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [run_id for each in threads.map(take_all, range(8)) for run_id in each]

    assert sorted(taken) == sorted(waiting)
    assert {run.attempt for run in asyncio.run(other.read(runs.find, alice.id, runs.RunFilter()))} == {1}


def _a_file(account_id: str, name: str) -> StoredFile:
    return files.new_file(account_id, f"/input/{name}", name * 64, 600, "text/plain", now_ms())


def _an_upload(account_id: str, name: str) -> Upload:
    return Upload(name * 21, account_id, f"/input/{name}", 600, now_ms())


@pytest.mark.parametrize(
    ("store_one", "most"),
    [
        (lambda conn, account_id, name, most: files.put(conn, _a_file(account_id, name), most), 1000),
        (lambda conn, account_id, name, most: uploads.add(conn, _an_upload(account_id, name), most), Quota(uploads=1)),
    ],
    ids=["files", "uploads"],
)
def test_two_files_at_the_same_moment_do_not_share_the_room_for_one(
    servers: tuple[Database, Database], store_one: Callable[..., Any], most: Any
) -> None:
    one, other = servers
    alice = asyncio.run(one.write(accounts.create, "alice", "member", None, now_ms()))
    for name in "ab":
        asyncio.run(one.write(blobs.add, name * 64, name * 64, 600, now_ms(), name))
    is_stored, may_end = threading.Event(), threading.Event()

    def first(conn: Connection) -> None:
        store_one(conn, alice.id, "a", most)
        is_stored.set()
        assert may_end.wait(END_TIMEOUT_S)

    with ThreadPoolExecutor(2) as threads:
        begun = threads.submit(asyncio.run, one.write(first))
        assert is_stored.wait(END_TIMEOUT_S)
        second = threads.submit(asyncio.run, other.write(store_one, alice.id, "b", most))
        while not second.done() and not asyncio.run(one.lookup(_waits_for_another)):
            continue
        may_end.set()
        begun.result()

        with pytest.raises(OverQuota):
            second.result()


def _waits_for_another(conn: Connection) -> bool:
    """True if a transaction of this database waits for the end of another one."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(conn.scalar(text(waiting)))


def test_concurrent_first_writes_happen_once(servers: tuple[Database, Database]) -> None:
    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(servers[number % 2].write(accounts.secret, "links") for number in range(8)))

    assert len(set(asyncio.run(all_at_once()))) == 1


def test_notices_reach_the_other_server_whole_and_in_order(servers: tuple[Database, Database]) -> None:
    told: list[Notice] = [
        LogUploaded("w", "é" * 20_000),
        RunEvents.of([Event("run", "account", RUNNING, 3)]),
        *(Wake(str(number)) for number in range(500)),
    ]

    async def tell() -> tuple[list[Notice], list[Notice]]:
        one, other = (db.notices for db in servers)
        heard: asyncio.Queue[Notice] = asyncio.Queue()
        own: list[Notice] = []
        one.subscribe(own.append, lambda: None)
        await one.listen()
        other.subscribe(heard.put_nowait, lambda: None)
        await other.listen()
        await servers[0].write(_say_nonsense)
        for notice in told:
            one.send(notice)
        async with asyncio.timeout(END_TIMEOUT_S):
            found = [await heard.get() for _ in told]
        await one.close()
        await other.close()
        return found, own

    assert asyncio.run(tell()) == (told, [])


def test_servers_that_lock_the_same_rows_do_not_deadlock(
    servers: tuple[Database, Database], postgres: Postgres
) -> None:
    before = postgres.log()
    names = ("a", "b", "c", "d")
    ids = [asyncio.run(servers[0].write(accounts.create, name, "member", None, now_ms())).id for name in names]
    taken, may_end = threading.Semaphore(0), threading.Event()

    def occupy(_: Connection) -> None:
        taken.release()
        may_end.wait(END_TIMEOUT_S)

    def count_up(conn: Connection, account_id: str) -> None:
        conn.execute(text("UPDATE accounts SET weight = weight + 1 WHERE id = :id"), {"id": account_id})
        conn.execute(text("SELECT pg_sleep(0.02)"))

    async def count() -> None:
        occupied = []
        for db in servers * WRITERS:
            occupied.append(asyncio.create_task(db.write(occupy)))
            await asyncio.to_thread(taken.acquire)
        orders = zip(servers, (ids, ids[::-1]), strict=True)
        writes = [asyncio.create_task(db.write(count_up, each)) for db, order in orders for each in order]
        await asyncio.sleep(0)  # now they wait behind the writers, and share what comes next
        may_end.set()
        await asyncio.gather(*occupied, *writes)

    asyncio.run(count())

    assert {account.weight for account in asyncio.run(servers[0].read(accounts.find))} == {3}
    assert "deadlock detected" not in postgres.log().removeprefix(before)


def test_a_locked_row_is_waited_for_within_a_limit(
    servers: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfyward.store.postgres.RETRY_FOR_S", 1.0)
    alice = asyncio.run(servers[0].write(accounts.create, "alice", "member", None, now_ms()))
    held, let_go = threading.Event(), threading.Event()

    def count_up(conn: Connection) -> None:
        conn.execute(text("UPDATE accounts SET weight = weight + 1 WHERE id = :id"), {"id": alice.id})

    def hold(conn: Connection) -> None:
        count_up(conn)
        held.set()
        let_go.wait(END_TIMEOUT_S)

    async def want_it() -> None:
        holding = asyncio.create_task(servers[0].write(hold))
        await asyncio.to_thread(held.wait)
        with pytest.raises(Unavailable, match="locked by another transaction"):
            await servers[1].write(count_up)
        waiting = asyncio.create_task(servers[1].write(count_up))
        let_go.set()
        await asyncio.gather(holding, waiting)

    asyncio.run(want_it())

    assert [account.weight for account in asyncio.run(servers[0].read(accounts.find))] == [3]


def test_events_stored_before_the_subscription_was_known_are_delivered(servers: tuple[Database, Database]) -> None:
    unheard = Event("run", "account", RUNNING, 2)
    other_run = Event("other run", "other account", RUNNING, 2)
    followed = Event("run", "account", SUCCEEDED, 3)

    async def follow() -> list[Event]:
        hub = Hub(servers[1].notices)
        here, _ = Relay(servers[0], Hub(servers[0].notices)), Relay(servers[1], hub)
        for db in servers:
            await db.notices.listen()
        here.publish([unheard, other_run])
        with hub.listen("account") as listener:
            found = [await listener.next(END_TIMEOUT_S)]
            here.publish([followed])
            found.append(await listener.next(END_TIMEOUT_S))
        for db in servers:
            await db.notices.close()
        return [event for event in found if event is not None]

    assert asyncio.run(follow()) == [unheard, followed]


def test_a_new_server_learns_all_subscriptions(servers: tuple[Database, Database]) -> None:
    event = Event("run", "account", SUCCEEDED, 3)

    async def join() -> Event | None:
        hub = Hub(servers[1].notices)
        Relay(servers[1], hub)
        await servers[1].notices.listen()
        with hub.listen("account") as listener:
            await servers[1].notices.flush()
            here = Relay(servers[0], Hub(servers[0].notices))
            await servers[0].notices.listen()
            here.start()
            here.publish([event])
            found = await listener.next(END_TIMEOUT_S)
            await here.stop()
        for db in servers:
            await db.notices.close()
        return found

    assert asyncio.run(join()) == event


def test_writes_that_wait_give_up_together_when_the_database_stays_away(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfyward.store.postgres.RETRY_FOR_S", 1.0)
    db = open_database(postgres.new_database_with_tables(), 6)

    async def write_meanwhile() -> list[object]:
        writes = [db.write(accounts.create, f"a{number}", "member", None, now_ms()) for number in range(40)]
        return await asyncio.gather(*writes, return_exceptions=True)

    postgres.stop()
    try:
        answers = asyncio.run(write_meanwhile())
    finally:
        postgres.start()
    found = asyncio.run(db.read(accounts.find))
    db.close()

    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert found == []
    assert len({id(answer) for answer in answers}) <= 2 * WRITERS  # one error for all that waited together


def test_a_listener_that_lost_its_connection_says_so_and_listens_again(servers: tuple[Database, Database]) -> None:
    async def lose() -> Notice:
        one, other = (db.notices for db in servers)
        heard: asyncio.Queue[Notice] = asyncio.Queue()
        missed = asyncio.Event()
        other.subscribe(heard.put_nowait, missed.set)
        await other.listen()
        await servers[0].write(_end_listeners)
        async with asyncio.timeout(END_TIMEOUT_S):
            await missed.wait()
            await one.listen()
            one.send(Wake("after"))
            found = await heard.get()
        await one.close()
        await other.close()
        return found

    assert asyncio.run(lose()) == Wake("after")


def test_one_server_leads_and_the_other_takes_over(servers: tuple[Database, Database]) -> None:
    one, other = servers

    async def lead() -> list[bool]:
        asked = [await one.is_leader("webhooks"), await other.is_leader("webhooks"), await one.is_leader("webhooks")]
        await other.write(_end_leaders)
        return [*asked, await other.is_leader("webhooks"), await one.is_leader("webhooks")]

    assert asyncio.run(lead()) == [True, False, True, True, False]


def test_a_restart_of_the_database_loses_no_write_that_was_answered(postgres: Postgres) -> None:
    """A commit that was cut off in the middle may be stored or not: it is said so, and never guessed."""
    url = postgres.new_database_with_tables()
    db = open_database(url, 6)
    answered, unsure = set(), set()

    async def work_through_a_restart() -> None:
        begun = asyncio.Event()

        async def create(name: str) -> None:
            try:
                await db.write(accounts.create, name, "member", None, now_ms())
                answered.add(name)
            except Unavailable as error:
                assert "lost during a commit" in error.message  # noqa: PT017
                unsure.add(name)
            begun.set()

        async def keep_creating() -> None:
            for number in range(200):
                await create(f"account {number}")

        working = asyncio.create_task(keep_creating())
        await begun.wait()
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(postgres.start)
        await working

    asyncio.run(work_through_a_restart())

    found = [account.name for account in asyncio.run(db.read(accounts.find))]
    db.close()
    assert len(found) == len(set(found))
    assert set(found) - unsure == answered
    assert len(answered) >= 200 - WRITERS  # the others waited for the database


def test_a_commit_that_is_cut_off_is_neither_repeated_nor_called_done(postgres: Postgres) -> None:
    db = open_database(postgres.new_database_with_tables(), 6)

    def create_and_lose_the_connection(conn: Connection) -> None:
        accounts.create(conn, "lost", "member", None, now_ms())
        backend = conn.scalar(text("SELECT pg_backend_pid()"))
        event.listen(
            conn, "commit", lambda _: postgres.execute(f"SELECT pg_terminate_backend({backend}, 10000)"), once=True
        )

    with pytest.raises(Unavailable, match="lost during a commit"):
        asyncio.run(db.write(create_and_lose_the_connection))
    asyncio.run(db.write(accounts.create, "next", "member", None, now_ms()))

    assert [account.name for account in asyncio.run(db.read(accounts.find))] == ["next"]
    db.close()


def test_values_postgresql_cannot_store_are_client_errors(servers: tuple[Database, Database]) -> None:
    for name in ("a\0b", "long" * 100):
        with pytest.raises(InvalidRequest):
            asyncio.run(servers[0].write(accounts.create, name, "member", None, now_ms()))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("not a url", "is not a URL"),
        ("mysql://user@host/db", "'mysql' databases are not supported"),
        ("postgresql://postgres@127.0.0.1:1/db", "Check the host and the port"),
        ("{server}/absent", "Create it first, or check its name"),
        ("{old}", "Upgrade it with 'comfyward db upgrade'"),
        ("{new}", "newer than this version"),
    ],
)
def test_a_bad_url_or_old_tables_are_refused_with_what_to_change(postgres: Postgres, url: str, says: str) -> None:
    if url in ("{old}", "{new}"):
        found = postgres.new_database_with_tables()
        db = open_database(found, 4)
        asyncio.run(db.write(_set_revision, "0001" if url == "{old}" else "9999"))
        db.close()
        url = found
    with pytest.raises(SetupFailed) as refused:
        open_database(url.format(server=postgres.url), 4)

    assert says in f"{refused.value.message} {refused.value.hint}"
    assert "\n" not in refused.value.message


def test_a_newer_sqlite_database_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    db = open_database(url)
    asyncio.run(db.write(_set_revision, "9999"))
    db.close()

    with pytest.raises(SetupFailed, match="newer than this version"):
        open_database(url)


def _assign(conn: Connection, run_id: str, worker_id: str) -> Run | None:
    now = now_ms()
    new_lease = leases.NewLease(run_id, worker_id, "d", f"lease-{run_id}")
    return next(iter(leases.assign(conn, [new_lease], expires_at=now + 9_000, now=now)), None)


def _say_nonsense(conn: Connection) -> None:
    """As another program on the same database might."""
    for text_ in ("", "x", "a b 0 not json", "a b c d e"):
        conn.execute(text("SELECT pg_notify('comfyward', :said)"), {"said": text_})


def _end_listeners(conn: Connection) -> None:
    _end(conn, "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")


def _end_leaders(conn: Connection) -> None:
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    _end(conn, f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = {here}")


def _end(conn: Connection, pids: str) -> None:
    """Ends connections, and waits until they are gone: their locks go with them."""
    conn.execute(text(f"SELECT pg_terminate_backend(pid, 10000) FROM ({pids}) AS chosen"))


def _set_revision(conn: Connection, revision: str) -> None:
    conn.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
