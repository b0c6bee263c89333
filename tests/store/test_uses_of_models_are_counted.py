"""Runs and saved workflows are counted for the models that they name, each account for itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from comfyward.ids import new_id
from comfyward.store import accounts, models, workflows
from comfyward.store.db import now_ms
from comfyward.store.models import ModelUse, Naming
from comfyward.store.schema import model_uses
from comfyward.workflows.workflow import Workflow
from tests.store.conftest import Store

STYLE, BASE = "/models/loras/style.safetensors", "/models/checkpoints/sdxl/base.safetensors"


def graph(*names: str) -> str:
    return json.dumps({str(n): {"class_type": "L", "inputs": {"name": name}} for n, name in enumerate(names)})


def saved(store: Store, owner: str, name: str, **graphs: Any) -> str:
    workflow = Workflow(new_id(), owner, name, 1, 1, **graphs)
    store.write(workflows.create, workflow)
    return workflow.id


def test_runs_count_by_path_and_content(store: Store) -> None:
    alice, bob = store.alice.id, store.bob.id
    for number, (owner, used) in enumerate([(alice, {STYLE: "d1", BASE: ""}), (alice, {STYLE: "d1"}), (bob, {})]):
        store.write(models.use, owner, "w", f"r{number}", used, number + 1)
    store.write(models.use, alice, "w", "r9", {STYLE: "d2"}, 9)

    assert store.read(models.uses, alice) == {
        (STYLE, "d1"): ModelUse(2, 2),
        (STYLE, "d2"): ModelUse(1, 9),
        (BASE, ""): ModelUse(1, 1),
    }
    assert store.read(models.uses, bob) == {}


def test_a_run_that_is_not_written_is_not_counted(store: Store) -> None:
    def work(conn: Connection) -> None:
        models.use(conn, store.alice.id, "w", "r", {STYLE: "d"}, 1)
        raise ValueError("after it")

    with pytest.raises(ValueError, match="after it"):
        store.write(work)
    store.write(models.use, store.alice.id, "w", "r2", {BASE: "d"}, 2)
    assert store.read(models.uses, store.alice.id) == {(BASE, "d"): ModelUse(1, 2)}


def test_saved_workflows_name_models_until_they_change_or_go(store: Store) -> None:
    alice, bob = store.alice.id, store.bob.id
    one = saved(store, alice, "One", graph=graph("sdxl/base.safetensors", "style.safetensors"))
    two = saved(store, alice, "Two", editor_graph=json.dumps({"nodes": [{"widgets_values": ["style.safetensors"]}]}))
    saved(store, bob, "His", graph=graph("style.safetensors"))

    assert store.read(models.counts_of_namings, alice) == {"sdxl/base.safetensors": 1, "style.safetensors": 2}
    assert store.read(models.namings, alice, STYLE) == [Naming(one, "One"), Naming(two, "Two")]
    assert store.read(models.count_of_others, alice, STYLE) == 1
    store.write(workflows.change, alice, one, {"graph": graph("other.safetensors")}, 2)
    assert store.read(models.namings, alice, STYLE) == [Naming(two, "Two")]
    store.write(workflows.change, alice, one, {"name": "Renamed"}, 3)
    assert store.read(models.counts_of_namings, alice) == {"other.safetensors": 1, "style.safetensors": 1}
    store.write(workflows.remove, alice, two, 4)
    assert store.read(models.namings, alice, STYLE) == []
    store.write(workflows.restore, alice, two, 5)
    assert store.read(models.namings, alice, STYLE) == [Naming(two, "Two")]


def test_they_go_with_their_account(store: Store) -> None:
    saved(store, store.alice.id, "One", graph=graph("style.safetensors"))
    store.write(models.use, store.alice.id, "w", "r", {STYLE: "d"}, 1)
    store.write(accounts.erase, store.alice.id)
    assert store.read(models.uses, store.alice.id) == {}
    assert store.read(models.count_of_others, store.bob.id, STYLE) == 0


def test_a_hundred_thousand_runs_are_two_rows(store: Store) -> None:
    """What a list reads grows with the models and workflows of an account, and not with its runs."""
    counted = {"account_id": store.alice.id, "path": STYLE, "digest": "d", "last_used_at": 1, "last_run_id": "r"}
    rows = [{**counted, "workflow_id": name, "run_count": 50_000} for name in ("w", "v")]
    store.write(lambda conn: conn.execute(insert(model_uses), rows) and None)
    store.write(models.use, store.alice.id, "w", "newest", {STYLE: "d"}, now := now_ms())

    assert store.read(models.uses, store.alice.id) == {(STYLE, "d"): ModelUse(100_001, now)}
    assert store.read(lambda conn: conn.execute(model_uses.select()).all().__len__()) == 2
