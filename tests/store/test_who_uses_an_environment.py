"""Environments are used by workflows, at any revision, and by runs that are not finished."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection

from comfyward.dispatch import revision_differences
from comfyward.ids import new_id
from comfyward.store import accounts, environment_uses, workflows
from comfyward.store.workflows import Saved
from comfyward.workflows.workflow import Workflow
from tests.store.conftest import Store


def made(store: Store, account_id: str, environment: str) -> str:
    about = {"name": "w", "created_at": 1, "updated_at": 1, "environment": environment}
    workflow = Workflow(id=new_id(), account_id=account_id, **about)
    store.write(workflows.create, workflow)
    return workflow.id


def test_graphs_are_read_within_a_share_of_each_account(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ann, ben = (store.write(accounts.create, name, "member", None, 1).id for name in ("ann", "ben"))
    graph, long = '{"1": {}}', f'{{"1": "{"x" * 100}"}}'
    texts = [
        (ann, graph, long),
        (ann, graph, None),
        (ann, None, graph),
        (ann, long, graph),
        (ben, None, graph),
        (ben, None, None),
    ]
    for number, (account_id, prompt, editor) in enumerate(texts):
        about: dict[str, Any] = {
            "created_at": 1,
            "updated_at": 10 - number,
            "environment": "one",
            "graph": prompt,
            "editor_graph": editor,
        }
        store.write(workflows.create, Workflow(id=new_id(), account_id=account_id, name=str(number), **about))

    def found(conn: Connection) -> list[Saved]:
        return list(workflows.following(conn, "one", 10, 50))

    saved = store.read(found)
    assert [(each.name, each.graph, each.editor_graph) for each in saved] == [
        ("0", graph, None),
        ("1", graph, None),
        ("2", None, graph),
        ("4", None, graph),
        ("5", None, None),
    ]
    monkeypatch.setattr(revision_differences, "MOST_OF_ACCOUNT", 2 * len(graph))
    assert [each.name for each in revision_differences.within_shares(saved)] == ["0", "1", "4", "5"]


def test_workflows_are_counted_by_account(store: Store) -> None:
    ann, ben = (store.write(accounts.create, name, "member", None, 1).id for name in ("ann", "ben"))
    for account_id, environment in ((ann, "one"), (ann, "one@3"), (ben, "one"), (ben, "two"), (ben, "")):
        made(store, account_id, environment)
    gone = made(store, ben, "two")
    store.write(workflows.remove, ben, gone, 2)

    found = store.read(environment_uses.by_name)

    assert {name: dict(use.workflows) for name, use in found.items()} == {
        "one": {"ann": 2, "ben": 1},
        "two": {"ben": 1},
    }
    assert found["one"].total == 3
    assert store.read(environment_uses.of_account, ben) == {"one": 1, "two": 1}
    assert store.read(environment_uses.unfinished, "one") == 0
