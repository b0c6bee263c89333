"""A path names the newest content; an asset stays reachable by its id when its name is given away."""

import dataclasses

import pytest

from comfyward.errors import NotFound
from comfyward.store import files
from comfyward.store.files import StoredFile
from tests.store.conftest import Store

FIRST, SECOND = "1" * 64, "2" * 64


def upload(store: Store, digest: str, now: int, path: str = "/input/a.png", **changes: object) -> StoredFile:
    file = files.new_file(store.alice.id, path, digest, 1, "image/png", now)
    return dataclasses.replace(file, **changes)  # type: ignore[arg-type]


def test_a_new_upload_replaces_an_old_one(store: Store) -> None:
    old = store.write(files.put, upload(store, FIRST, 1))
    store.write(files.put, upload(store, SECOND, 2))

    assert [file.digest for file in store.read(files.find, store.alice.id)] == [SECOND]
    with pytest.raises(NotFound):
        store.read(files.by_id, store.alice.id, old.id)


def test_an_asset_is_not_replaced(store: Store) -> None:
    asset, _ = store.write(files.mint, upload(store, FIRST, 1, is_asset=True))
    store.write(files.put, upload(store, SECOND, 2))

    assert store.read(files.get, store.alice.id, "/input/a.png").digest == SECOND
    assert store.read(files.by_id, store.alice.id, asset.id).digest == FIRST


def test_the_same_content_and_path_is_the_same_file_and_has_its_name_again(store: Store) -> None:
    first, is_new = store.write(files.mint, upload(store, FIRST, 1, is_asset=True))
    store.write(files.mint, upload(store, SECOND, 2, is_asset=True))
    again, is_new_again = store.write(files.mint, upload(store, FIRST, 3, is_asset=True))

    assert (is_new, is_new_again, again.id) == (True, False, first.id)
    assert store.read(files.get, store.alice.id, "/input/a.png").digest == FIRST


@pytest.mark.parametrize(("first", "second", "kept"), [(10, 20, 20), (20, 10, 20), (10, None, None), (None, 10, None)])
def test_naming_a_file_again_never_shortens_its_time(
    store: Store, first: int | None, second: int | None, kept: int | None
) -> None:
    store.write(files.mint, upload(store, FIRST, 1, expires_at=first))
    file, _ = store.write(files.mint, upload(store, FIRST, 2, expires_at=second))

    assert file.expires_at == kept
    assert store.read(files.by_id, store.alice.id, file.id).expires_at == kept


def test_files_expire(store: Store) -> None:
    store.write(files.mint, upload(store, FIRST, 1, expires_at=10))
    store.write(files.mint, upload(store, SECOND, 1, path="/input/b.png"))

    assert store.write(files.expire, 11) == 1
    assert [file.path for file in store.read(files.find, store.alice.id)] == ["/input/b.png"]


def test_a_file_moves(store: Store) -> None:
    store.write(files.put, upload(store, FIRST, 1))

    moved = store.write(files.rename, store.alice.id, "/input/a.png", "/input/b.png", 2)

    assert (moved.path, moved.digest) == ("/input/b.png", FIRST)
    assert [file.path for file in store.read(files.find, store.alice.id)] == ["/input/b.png"]
