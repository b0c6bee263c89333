"""An admin deleted a shared model, and is a member when that is undone: all accounts do not get it back by a member."""

from __future__ import annotations

import dataclasses

import pytest

from comfyward.dispatch import model_removal
from comfyward.errors import Conflict
from comfyward.store import blobs, shared_files
from comfyward.store.db import now_ms
from comfyward.store.shared_files import SharedFile
from tests.store.conftest import Store

PATH, DIGEST = "/models/loras/house.safetensors", "d" * 64


def test_an_undone_deletion(store: Store) -> None:
    admin = dataclasses.replace(store.alice, role="admin")
    member = dataclasses.replace(store.alice, role="member")
    store.write(blobs.add, DIGEST, "s" * 64, 9, 1)
    store.write(shared_files.share, SharedFile(PATH, DIGEST, 9, "application/x-safetensors", admin.id, 1))
    deleted = store.write(model_removal.remove, admin, PATH, 0, now_ms())

    with pytest.raises(Conflict, match="only admins share models"):
        store.write(model_removal.restore, member, deleted.id, 0, now_ms())

    assert store.read(shared_files.find) == []
    assert store.write(model_removal.restore, admin, deleted.id, 0, now_ms()) == PATH
