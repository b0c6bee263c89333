"""Whatever is open for an account is asked about again at once, on every server, when a key or session has ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest

from comfyward.api import auth as module
from comfyward.api.auth import Auth
from comfyward.errors import Unauthenticated, Unavailable
from comfyward.store import accounts
from comfyward.store.backends import open_database
from comfyward.store.db import Database, now_ms
from tests.servers import Postgres
from tests.store.conftest import Store

AT_ONCE_S = 60


@pytest.fixture(autouse=True)
def nothing_is_asked_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASKED_AGAIN_S", "REMEMBER_S"):
        monkeypatch.setattr(module, name, math.inf)


@pytest.fixture
def servers(postgres: Postgres) -> Iterator[tuple[Database, Database]]:
    url = postgres.new_database_with_tables()
    both = open_database(url, 6), open_database(url, 6)
    yield both
    for db in both:
        db.close()


def test_it_ends_on_a_server_alone(store: Store) -> None:
    async def still_open() -> set[asyncio.Task[None]]:
        auth = Auth(store.db, "secret")
        opened = asyncio.create_task(auth.until_refused("ada", _refuse))
        await asyncio.sleep(0)
        auth.forget("ada")
        _, waiting = await asyncio.wait([opened], timeout=AT_ONCE_S)
        return waiting

    assert asyncio.run(still_open()) == set()


def test_a_revoked_key_is_not_remembered(store: Store) -> None:
    key = store.write(accounts.create_key, store.alice.id, "mine", now_ms())

    async def answers() -> list[str]:
        auth = Auth(store.db, "secret")
        before = await auth.caller_of(key)
        await store.db.write(accounts.revoke_key, store.alice.id, "mine", now_ms())
        auth.forget(store.alice.id)
        with pytest.raises(Unauthenticated):
            await auth.caller_of(key)
        return [before.account.id]

    assert asyncio.run(answers()) == [store.alice.id]


def test_it_ends_on_this_and_other_servers(servers: tuple[Database, Database]) -> None:
    async def ends() -> list[BaseException | None]:
        here, there = (Auth(db, "secret") for db in servers)
        for db in servers:
            await db.notices.listen()
        open_at = [asyncio.create_task(auth.until_refused("ada", _refuse)) for auth in (here, there)]
        others = asyncio.create_task(there.until_refused("bob", _refuse))
        await asyncio.sleep(0)
        here.forget("ada")
        _, waiting = await asyncio.wait(open_at, timeout=AT_ONCE_S)
        assert [open_at.index(each) for each in waiting] == []
        ended = await asyncio.gather(*open_at, return_exceptions=True)
        assert not others.done()
        here.forget("bob")
        return [*ended, *await asyncio.gather(others, return_exceptions=True)]

    assert [type(each) for each in asyncio.run(ends())] == [Unauthenticated] * 3


def test_a_database_that_is_away_ends_nothing(servers: tuple[Database, Database]) -> None:
    answers = iter([Unavailable("away"), None, Unauthenticated("gone")])
    asked = asyncio.Event()

    async def ask() -> None:
        asked.set()
        if (error := next(answers)) is not None:
            raise error

    async def ends() -> None:
        here = Auth(servers[0], "secret")
        opened = asyncio.create_task(here.until_refused("ada", ask))
        await asyncio.sleep(0)
        for _ in range(3):
            assert not opened.done()
            asked.clear()
            here.forget("ada")
            await asked.wait()
        with pytest.raises(Unauthenticated):
            await opened

    asyncio.run(ends())
    assert next(answers, "none is left") == "none is left"


async def _refuse() -> None:
    raise Unauthenticated("The key was revoked.")
