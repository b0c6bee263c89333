"""Somebody uploads and deletes models again and again: what the undo of that keeps has the account's own limit."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection

from comfyward.accounts.account import Account
from comfyward.dispatch import model_removal
from comfyward.errors import NotFound
from comfyward.store import blobs, deleted_models, files
from comfyward.store.db import now_ms
from tests.store.conftest import Store

MOST, SIZE = 1000, 400


def come_and_go(conn: Connection, account: Account, name: str, now: int, size: int = SIZE) -> str:
    """A model of this name is uploaded and deleted; returns the deletion's id."""
    digest = name.ljust(64, "0")
    blobs.add(conn, digest, digest, size, now)
    files.put(conn, files.new_file(account.id, f"/models/loras/{name}", digest, size, "x/y", now), MOST)
    return model_removal.remove(conn, account, f"/models/loras/{name}", MOST, now).id


def test_the_oldest_are_given_up(store: Store) -> None:
    now = now_ms()
    of_other = store.write(come_and_go, store.bob, "other", now)
    deleted = [store.write(come_and_go, store.alice, f"lora-{number}", now + number) for number in range(5)]

    free = store.read(blobs.orphans, now + 1000)

    assert sorted(digest.rstrip("0") for digest in free) == ["lora-", "lora-1", "lora-2"]
    for gone in deleted[:3]:
        with pytest.raises(NotFound):
            store.write(model_removal.restore, store.alice, gone, MOST, now)
    for kept in deleted[3:]:
        store.write(model_removal.restore, store.alice, kept, MOST, now)
    assert len(store.read(files.find, store.alice.id)) == 2
    assert store.write(model_removal.restore, store.bob, of_other, MOST, now) == "/models/loras/other"


def test_their_number_has_a_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deleted_models, "MOST_KEPT", 3)
    now = now_ms()
    deleted = [store.write(come_and_go, store.alice, f"empty-{number}", now + number, 0) for number in range(5)]

    for gone in deleted[:2]:
        with pytest.raises(NotFound):
            store.write(model_removal.restore, store.alice, gone, MOST, now)
    for kept in deleted[2:]:
        store.write(model_removal.restore, store.alice, kept, MOST, now)
