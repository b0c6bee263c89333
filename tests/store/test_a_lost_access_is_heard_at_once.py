"""Whatever is open for an account is asked about again at once, on every server, when a key or session has ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest

from comfyward.api import auth as module
from comfyward.api.auth import Auth
from comfyward.errors import Unauthenticated, Unavailable
from comfyward.store.backends import open_database
from comfyward.store.db import Database
from tests.servers import Postgres


@pytest.fixture
def servers(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Database, Database]]:
    """Two servers that ask only when they are told to."""
    monkeypatch.setattr(module, "ASKED_AGAIN_S", math.inf)
    url = postgres.new_database_with_tables()
    both = open_database(url, 6), open_database(url, 6)
    yield both
    for db in both:
        db.close()


def test_it_ends_on_this_and_other_servers(servers: tuple[Database, Database]) -> None:
    async def ends() -> list[BaseException | None]:
        here, there = (Auth(db, "secret") for db in servers)
        for db in servers:
            await db.notices.listen()
        open_at = [asyncio.create_task(auth.until_refused("ada", _refuse)) for auth in (here, there)]
        others = asyncio.create_task(there.until_refused("bob", _refuse))
        await asyncio.sleep(0)
        here.forget("ada")
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
