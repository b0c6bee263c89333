"""Uploads of ComfyUI's API under one name lie beside each other, and each asks for a few names, however many there are.

They are asked for in the transaction that stores the file, during which SQLite stores nothing of other accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from comfyward.api.native import uploads
from comfyward.store import files
from tests.store.conftest import Store

MANY = 3000
FEW = 60


def test_an_upload_beside_thousands(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(_add_many, store.alice.id)
    asked: list[Any] = []
    at = files.at

    def counting(conn: Connection, account_id: str, paths: Sequence[str]) -> Any:
        asked.extend(paths)
        return at(conn, account_id, paths)

    monkeypatch.setattr(files, "at", counting)
    new = files.new_file(store.alice.id, "/input/a.png", "f" * 64, 1, "image/png", 2)

    stored = store.write(uploads._put, new, 0, False)
    again = store.write(uploads._put, new, 0, False)

    assert stored.path == f"/input/a ({MANY}).png"
    assert again.path == stored.path, "the same bytes are the same file"
    assert 0 < len(asked) < 2 * FEW


def test_among_few_the_first_free_name_is_taken(store: Store) -> None:
    for digest in "abc":
        new = files.new_file(store.alice.id, "/input/a.png", digest * 64, 1, "image/png", 2)
        store.write(uploads._put, new, 0, False)
    store.write(files.remove, store.alice.id, "/input/a (1).png")

    new = files.new_file(store.alice.id, "/input/a.png", "d" * 64, 1, "image/png", 2)

    assert store.write(uploads._put, new, 0, False).path == "/input/a (1).png"


def _add_many(conn: Connection, account_id: str) -> None:
    paths = ["/input/a.png", *(f"/input/a ({number}).png" for number in range(1, MANY))]
    files.add_outputs(
        conn, [files.new_file(account_id, path, f"{n:064}", 1, "image/png", 1) for n, path in enumerate(paths)]
    )
