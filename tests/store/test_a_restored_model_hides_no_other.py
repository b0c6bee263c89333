"""A deletion is undone only where nothing else has come to that path: neither is then hidden by the other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection

from comfyward.dispatch import model_removal
from comfyward.errors import Conflict
from comfyward.store import files
from comfyward.store.db import now_ms
from tests.store.conftest import Store

PATH, LINKED = "/models/loras/a", {"url": "https://example.com/a"}


def a_file(conn: Connection, account_id: str) -> None:
    files.put(conn, files.new_file(account_id, PATH, "a" * 64, 3, "x/y", now_ms()))


def another_file(conn: Connection, account_id: str) -> None:
    files.put(conn, files.new_file(account_id, PATH, "b" * 64, 3, "x/y", now_ms()))


def a_link(conn: Connection, account_id: str) -> None:
    files.link(conn, account_id, {PATH: LINKED}, now_ms())


@pytest.mark.parametrize("deleted", [a_file, a_link], ids=lambda each: each.__name__)
@pytest.mark.parametrize("there", [another_file, a_link], ids=lambda each: each.__name__)
def test_what_came_meanwhile_stays(
    store: Store, deleted: Callable[[Connection, str], None], there: Callable[[Connection, str], None]
) -> None:
    alice = store.alice
    store.write(deleted, alice.id)
    deletion = store.write(model_removal.remove, alice, PATH, 0, now_ms())
    store.write(there, alice.id)
    before = store.read(files.at, alice.id, [PATH]), store.read(files.links, alice.id)

    with pytest.raises(Conflict, match="another file"):
        store.write(model_removal.restore, alice, deletion.id, 0, now_ms())

    assert (store.read(files.at, alice.id, [PATH]), store.read(files.links, alice.id)) == before
    store.write(model_removal.remove, alice, PATH, 0, now_ms())
    assert store.write(model_removal.restore, alice, deletion.id, 0, now_ms()) == PATH
