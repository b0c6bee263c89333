"""Marked workflows hold up promotions: an admin takes out those of others, and closed accounts hold up nothing."""

from __future__ import annotations

import pytest

from comfyward.errors import NotFound
from comfyward.ids import new_id
from comfyward.store import accounts, environments, rehearsals, workflows
from comfyward.store.rehearsals import BROKEN, Rehearsal
from comfyward.workflows.workflow import Workflow
from tests.store.conftest import Store


def marked(store: Store, account_id: str) -> str:
    about = {"name": "w", "created_at": 1, "updated_at": 1, "environment": "one", "in_trials": True}
    workflow = Workflow(id=new_id(), account_id=account_id, **about)
    store.write(workflows.create, workflow)
    return workflow.id


def in_trials(store: Store) -> set[str]:
    return {each.workflow_id for each in store.read(rehearsals.marked, "one")}


def test_one_is_taken_out_with_what_its_trials_gave(store: Store) -> None:
    store.write(environments.create, "one", 'comfyui = "0.30.0"\n', 1)
    store.write(environments.create, "two", 'comfyui = "0.30.0"\n', 1)
    first, second = marked(store, store.alice.id), marked(store, store.bob.id)
    key = store.read(environments.get, "one").id
    failed = Rehearsal(key, 1, first, store.alice.id, "", "", BROKEN, "why", None, 1, 2)
    store.write(rehearsals.begin, failed)

    with pytest.raises(NotFound):
        store.write(rehearsals.unmark, "two", first)
    store.write(rehearsals.unmark, "one", first)

    assert in_trials(store) == {second}
    assert store.read(rehearsals.of, "one") == {}
    with pytest.raises(NotFound):
        store.write(rehearsals.unmark, "one", first)
    store.write(workflows.change, store.alice.id, first, {"in_trials": True}, 2)
    assert in_trials(store) == {first, second}


def test_those_of_closed_accounts_are_no_part_of_trials(store: Store) -> None:
    store.write(environments.create, "one", 'comfyui = "0.30.0"\n', 1)
    marked(store, store.bob.id)
    left = marked(store, store.alice.id)

    store.write(accounts.retire, store.bob.id, 5)

    assert in_trials(store) == {left}
