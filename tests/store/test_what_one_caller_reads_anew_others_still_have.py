"""Whoever wants an environment as it is now reads that alone, and keeps nobody waiting who wants another."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from comfyward.dispatch import inventory, revisions
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.catalogs import Catalogs, CatalogsByPool
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.revisions import Revisions
from comfyward.dispatch.worker_signals import WorkerSignals
from tests.store.conftest import Store

PORTRAITS, VIDEO = "a" * 64, "b" * 64


class Counted(Catalogs):
    """Counts how often the catalogs of an environment are read; those of VIDEO are not read before `may_read`."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.db)
        self.read: Counter[str] = Counter()
        self.may_read = asyncio.Event()

    async def _in_use(self, environment: str) -> CatalogsByPool:
        self.read[environment] += 1
        if environment == VIDEO:
            await self.may_read.wait()
        return await super()._in_use(environment)


@pytest.fixture(autouse=True)
def _remembered_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (inventory, revisions):
        monkeypatch.setattr(module, "REMEMBER_S", 3600.0)


def test_what_is_read_anew_is_that_of_the_one_who_asks(store: Store) -> None:
    async def scenario() -> Counter[str]:
        catalogs = Counted(store)
        offered = Inventory(store.db, catalogs, [], {}, None)
        bindings = Bindings(offered, Revisions(store.db, WorkerSignals(store.db.notices)))
        await offered.look(PORTRAITS)

        for _ in range(3):
            await bindings.catalog("default")
        await offered.look(PORTRAITS)

        return catalogs.read

    read = asyncio.run(scenario())
    assert read[PORTRAITS] == 1
    assert read["default"] >= 3


def test_an_environment_whose_catalog_is_being_read_keeps_no_other_waiting(store: Store) -> None:
    async def scenario() -> None:
        catalogs = Counted(store)
        offered = Inventory(store.db, catalogs, [], {}, None)
        slow = asyncio.create_task(offered.look(VIDEO))
        while not catalogs.read[VIDEO]:
            await asyncio.sleep(0)

        await offered.look(PORTRAITS)

        assert not slow.done()
        catalogs.may_read.set()
        await slow
        assert catalogs.read == {VIDEO: 1, PORTRAITS: 1}

    asyncio.run(scenario())
