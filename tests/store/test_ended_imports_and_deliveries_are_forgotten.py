"""Imports and deliveries of webhooks that ended long ago are forgotten; those that wait never are."""

from __future__ import annotations

from comfyward.ids import new_id
from comfyward.store import imports, runs, webhooks
from comfyward.store.imports import Import
from tests.store.conftest import Store

NOW = 1_000_000


def test_imports(store: Store) -> None:
    def add(path: str) -> str:
        new = Import(new_id(), store.alice.id, path, {"url": "http://host/a"}, "waiting", None, NOW, None)
        return str(store.write(imports.add, new))

    waiting, old, fresh = add("/input/waiting"), add("/input/old"), add("/input/fresh")
    store.write(imports.finish, old, None, NOW)
    store.write(imports.finish, fresh, "failed", NOW + 1)

    assert store.write(imports.prune, NOW + 1) == 1

    assert {each.id for each in store.read(imports.find, store.alice.id)} == {waiting, fresh}


def test_deliveries(store: Store) -> None:
    run = store.read(runs.get_any, store.new_run("run", webhook="http://host/hook"))
    for event in ("old", "fresh", "waiting"):
        store.write(webhooks.add, run, event, NOW)
    by_event = {each.event: each.id for each in store.read(webhooks.find, store.alice.id, None, 10)}
    for event, ended in (("old", NOW), ("fresh", NOW + 1)):
        tried = store.read(webhooks.get, store.alice.id, by_event[event], NOW).delivery
        how = {"state": "delivered", "status": 200, "answer": "", "next_attempt_at": None}
        store.write(webhooks.record, tried, **how, now=ended)

    assert store.write(webhooks.prune, NOW + 1) == 1

    assert {each.event for each in store.read(webhooks.find, store.alice.id, None, 10)} == {"fresh", "waiting"}
