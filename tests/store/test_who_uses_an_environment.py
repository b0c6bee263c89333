"""Environments are used by workflows, at any revision, and by runs that are not finished."""

from __future__ import annotations

from comfyward.ids import new_id
from comfyward.store import accounts, environment_uses, workflows
from comfyward.workflows.workflow import Workflow
from tests.store.conftest import Store


def made(store: Store, account_id: str, environment: str) -> str:
    about = {"name": "w", "created_at": 1, "updated_at": 1, "environment": environment}
    workflow = Workflow(id=new_id(), account_id=account_id, **about)
    store.write(workflows.create, workflow)
    return workflow.id


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
