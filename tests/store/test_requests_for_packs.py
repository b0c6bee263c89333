"""Requests for packs wait until an admin decides them once; they are seen by their account, and go with it."""

from __future__ import annotations

import pytest

from comfyward.errors import Conflict, NotFound
from comfyward.store import accounts, pack_requests
from comfyward.store.pack_requests import ACCEPTED, DECLINED
from tests.store.conftest import Store

PACKS = [{"name": "fancy", "source": "cnr:fancy@1.0.0", "origin": "map", "confidence": "likely", "classes": ["A"]}]


def owner(store: Store, name: str) -> str:
    return store.write(accounts.create, name, "member", None, 1).id


def test_one_waits_for_a_workflow_and_is_decided_once(store: Store) -> None:
    ann, ben = owner(store, "ann"), owner(store, "ben")
    store.write(pack_requests.ask, ann, "w", PACKS, "", 1)
    newer = store.write(pack_requests.ask, ann, "w", PACKS, ">=0.24.1", 2)
    other = store.write(pack_requests.ask, ben, "v", [], ">=0.24.1", 3)

    found = store.read(pack_requests.waiting)
    assert [(each.id, each.account, each.comfyui) for each in found] == [
        (newer, "ann", ">=0.24.1"),
        (other, "ben", ">=0.24.1"),
    ]
    assert found[0].packs == PACKS
    store.write(lambda conn: pack_requests.decide(conn, newer, ACCEPTED, 4, environment="fancy"))
    store.write(lambda conn: pack_requests.decide(conn, other, DECLINED, 4, reply="too large"))
    with pytest.raises(Conflict, match="was accepted already"):
        store.write(lambda conn: pack_requests.decide(conn, newer, DECLINED, 5))
    with pytest.raises(NotFound):
        store.write(lambda conn: pack_requests.decide(conn, "nobody", DECLINED, 5))

    assert store.read(pack_requests.waiting) == []
    mine = store.read(pack_requests.of_workflow, ann, "w")
    assert mine is not None
    assert (mine.state, mine.environment) == (ACCEPTED, "fancy")
    assert store.read(pack_requests.of_workflow, ben, "w") is None
    assert [each.reply for each in store.read(pack_requests.of_account, ben)] == ["too large"]
    again = store.write(pack_requests.ask, ann, "w", PACKS, "", 6)
    assert [each.id for each in store.read(pack_requests.of_account, ann)] == [again, newer]


def test_they_go_with_their_account(store: Store) -> None:
    ann = owner(store, "ann")
    store.write(pack_requests.ask, ann, "w", PACKS, "", 1)
    store.write(accounts.erase, ann)
    assert store.read(pack_requests.waiting) == []


def test_an_account_has_so_many_at_most(store: Store) -> None:
    ann = owner(store, "ann")
    for number in range(pack_requests.MAX_WAITING):
        store.write(pack_requests.ask, ann, f"w{number}", PACKS, "", number)
    with pytest.raises(Conflict, match=r"You have 20 requests for packs that wait, which is the limit\."):
        store.write(pack_requests.ask, ann, "another", PACKS, "", 1)
    again = store.write(pack_requests.ask, ann, "w0", PACKS, "", 1)
    store.write(pack_requests.decide, again, DECLINED, 2)
    store.write(pack_requests.ask, ann, "another", PACKS, "", 3)


def test_what_was_decided_long_ago_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_requests, "KEPT", 1)
    ann = owner(store, "ann")
    for number in range(3):
        request_id = store.write(pack_requests.ask, ann, f"w{number}", PACKS, "", number)
        store.write(pack_requests.decide, request_id, DECLINED, 4)
    store.write(pack_requests.ask, ann, "another", PACKS, "", 5)
    assert [each.workflow_id for each in store.read(pack_requests.of_account, ann)] == ["another", "w2"]
