"""Graphs of saved workflows and of runs count: an account cannot fill the database with them, nor by deleting them."""

from __future__ import annotations

import dataclasses

import pytest
from sqlalchemy import func, select

from comfyward.accounts.storage import COUNTED_BYTES
from comfyward.dispatch import transitions
from comfyward.errors import Conflict, NotFound, OverQuota
from comfyward.store import deleted_workflows, row_limits, runs, storage, workflows
from comfyward.store.schema import workflows as table
from comfyward.store.workflows import Workflow
from tests.store.conftest import Store

NOW = 1_000_000_000
DAY = deleted_workflows.KEPT_MS


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "WORKFLOW_BYTES", 1000)


def _create(store: Store, name: str, size: int, account_id: str | None = None, **values: object) -> str:
    new = Workflow(name, account_id or store.alice.id, name, created_at=NOW, updated_at=NOW, graph="g" * size)
    store.write(workflows.create, dataclasses.replace(new, **values))
    return name


def test_graphs_of_workflows_have_one_limit_for_an_account(store: Store) -> None:
    _create(store, "a", 600)

    with pytest.raises(OverQuota, match=r"Your workflows would use 1\.1 KB, more than the limit of 1\.0 KB"):
        _create(store, "b", 500)
    with pytest.raises(OverQuota):
        store.write(workflows.change, store.alice.id, "a", {"editor_graph": "é" * 250}, NOW)
    _create(store, "of-bob", 1000, store.bob.id)
    store.write(workflows.change, store.alice.id, "a", {"graph": "g" * 400}, NOW)
    _create(store, "c", 600)
    assert [each.id for each in store.read(workflows.listed, store.alice.id, None, 10).rows if each.graph] == ["c", "a"]


def test_deleted_ones_give_way_and_are_forgotten(store: Store) -> None:
    for name in ("a", "b"):
        _create(store, name, 400)
    store.write(workflows.remove, store.alice.id, "a", NOW)
    assert store.write(workflows.restore, store.alice.id, "a", NOW + DAY - 1).graph == "g" * 400
    store.write(workflows.remove, store.alice.id, "a", NOW)

    _create(store, "c", 600)  # needs the room

    with pytest.raises(NotFound):
        store.write(workflows.restore, store.alice.id, "a", NOW)
    store.write(workflows.remove, store.alice.id, "c", NOW)
    with pytest.raises(NotFound):
        store.write(workflows.restore, store.alice.id, "c", NOW + DAY)
    store.write(deleted_workflows.prune, NOW + 1)
    assert _ids(store) == {"b"}


def test_deleting_again_and_again_fills_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleted_workflows, "MOST_KEPT", 2)
    for number in range(5):
        _create(store, f"w{number}", 10)
        store.write(workflows.remove, store.alice.id, f"w{number}", NOW + number)

    assert _ids(store) == {"w3", "w4"}


def test_restoring_brings_no_more_than_may_be(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_limits, "WORKFLOWS", 2)  # with the default one
    _create(store, "a", 1)
    store.write(workflows.remove, store.alice.id, "a", NOW)
    _create(store, "b", 1)

    with pytest.raises(Conflict):
        store.write(workflows.restore, store.alice.id, "a", NOW)


def test_one_that_has_runs_keeps_its_name(store: Store) -> None:
    _create(store, "a", 900)
    store.new_run("run", workflow_id="a")
    store.write(workflows.remove, store.alice.id, "a", NOW)

    store.write(deleted_workflows.prune, NOW + 1)

    assert store.read(workflows.names, store.alice.id)["a"] == "a"
    assert store.read(runs.get, store.alice.id, "run").workflow_id == "a"
    _create(store, "b", 900)


def test_requests_of_runs_count_until_they_are_deleted(store: Store) -> None:
    small = store.new_run("small", prompt='"' + "a" * 1000 + '"')
    large = store.new_run("large", prompt='"' + "é" * COUNTED_BYTES + '"')
    store.new_run("of-bob", store.bob, prompt='"' + "a" * 100_000 + '"')

    stored = store.read(storage.of_runs, store.alice.id)
    for run_id in (small, large):
        store.write(transitions.cancelled, store.alice.id, run_id, NOW)
        store.write(runs.remove, store.alice.id, run_id, NOW)

    assert 2 * COUNTED_BYTES < stored < 2 * COUNTED_BYTES + 100
    assert store.read(storage.of_runs, store.alice.id) == 0


def test_an_account_has_so_many_public_workflows_and_a_share_of_a_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_limits, "PUBLIC_WORKFLOWS", 3)
    monkeypatch.setattr(workflows, "TURN", 2)
    _create(store, "of-bob", 1, store.bob.id, visibility="PUBLIC", updated_at=NOW)
    for number in range(3):
        _create(store, f"a{number}", 1, visibility="PUBLIC", updated_at=NOW + 10 + number)
    private = _create(store, "private", 1)

    with pytest.raises(Conflict, match="public workflows"):
        _create(store, "a3", 1, visibility="PUBLIC")
    with pytest.raises(Conflict):
        store.write(workflows.change, store.alice.id, private, {"visibility": "PUBLIC"}, NOW)
    shown = store.read(workflows.public_cards, workflows.Search(limit=3))
    rest = store.read(workflows.public_cards, workflows.Search(limit=3, offset=3))
    assert [card.workflow.id for card in (*shown, *rest)] == ["a2", "a1", "of-bob", "a0"]
    assert (shown[2].owner, shown[2].run_count) == ("bob", 0)


def _ids(store: Store) -> set[str]:
    """The workflows of alice that take anything, beside the default one."""
    own = (table.c.account_id == store.alice.id, func.coalesce(table.c.size, 0) > 0)
    return set(store.read(lambda conn: list(conn.scalars(select(table.c.id).where(*own)))))
