"""Imports under way are found by path, requests are taken back by their account, pools tell their smallest memory."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.accounts.account import Account
from comfyward.errors import Conflict, NotFound
from comfyward.store import imports, pack_requests, workers
from comfyward.store.imports import Import
from comfyward.store.workers import WorkerRow
from tests.store.conftest import Store

PATH = "/models/loras/a.safetensors"


def add(store: Store, account: Account, import_id: str, path: str, created_at: int) -> None:
    source = {"url": f"https://example.com/{import_id}"}
    store.write(imports.add, Import(import_id, account.id, path, source, "waiting", None, created_at, None))


def test_imports_under_way_are_found_by_path(store: Store) -> None:
    add(store, store.alice, "first", PATH, 1)
    add(store, store.alice, "second", PATH, 2)
    add(store, store.alice, "other", "/models/loras/b.safetensors", 3)
    add(store, store.bob, "bobs", PATH, 0)

    assert store.read(imports.waiting_at, store.alice.id, {PATH, "/models/loras/c.safetensors"}) == {PATH: "first"}
    assert store.read(imports.waiting_at, store.alice.id, set()) == {}
    store.write(imports.finish, "first", None, 4)
    store.write(imports.finish, "second", "it failed", 4)
    assert store.read(imports.waiting_at, store.alice.id, {PATH}) == {}


def test_a_request_is_taken_back_by_its_account_while_it_waits(store: Store) -> None:
    asked = (store.alice.id, "file-1", [{"name": "fancy"}], "")
    request_id = store.write(pack_requests.ask, *asked, 1)

    with pytest.raises(NotFound):
        store.write(pack_requests.withdraw, store.bob.id, request_id)
    store.write(pack_requests.withdraw, store.alice.id, request_id)
    assert store.read(pack_requests.of_account, store.alice.id) == []

    decided = store.write(pack_requests.ask, *asked, 2)
    store.write(pack_requests.decide, decided, pack_requests.DECLINED, 3)
    with pytest.raises(Conflict):
        store.write(pack_requests.withdraw, store.alice.id, decided)


def test_a_pool_tells_the_memory_of_its_smallest_device(store: Store) -> None:
    def worker(worker_id: str, pool: str, seen_at: int, memory: dict[str, Any] | None) -> None:
        about = dict.fromkeys(("incarnation", "environment", "device", "host", "sandbox"), "x")
        row = WorkerRow(
            id=worker_id,
            pool=pool,
            versions={},
            local=False,
            started_at=1,
            seen_at=seen_at,
            gone_at=None,
            vitals={"memory": memory},
            **about,
        )
        store.write(workers.register, row)

    worker("large", "L4", 10, {"vram_total": 24, "ram_total": 64})
    worker("small", "L4", 10, {"vram_total": 22})
    worker("old", "L4", 1, {"vram_total": 8})
    worker("starting", "T4", 10, None)
    worker("silent", "A10", 10, {"vram_total": 0})

    assert store.read(workers.memory_of_pools, 5) == {"L4": 22}
