"""A graph may name one file or thousands, and folders of any letters: each is found, and nothing beside it."""

import pytest

from comfyward.store import files
from tests.store.conftest import Store

BESIDE = (
    "/input/set.png",
    "/input/set-2/a.png",
    "/input/Set/a.png",
    "/input/set0",
    "/input/s_t/a.png",
    "/models/set/a",
)
BELOW = ("/input/set/a.png", "/input/set/é/\U0001f600.png", "/input/set/Zebra.png")


@pytest.mark.parametrize("more", [0, 3000])
def test_files_and_urls_of_an_account(store: Store, more: int) -> None:
    for path in (*BESIDE, *BELOW):
        store.write(files.add_blob, "d" * 64, "s" * 64, 1, 1)
        store.write(files.put, files.new_file(store.alice.id, path, "d" * 64, 1, "x/y", 1))
    sources = {f"{path}.url": {"url": "http://host/x"} for path in (*BESIDE, *BELOW)}
    store.write(files.link, store.alice.id, sources, 1)
    names = {"/input/set.png", *(f"/input/nothing {number}" for number in range(more))}
    folders = {"/input/set", *(f"/input/none {number}" for number in range(more))}

    assert [file.path for file in store.read(files.at, store.alice.id, names)] == ["/input/set.png"]
    assert {file.path for file in store.read(files.below, store.alice.id, folders)} == set(BELOW)
    found = store.read(files.links, store.alice.id, {f"{name}.url" for name in names}, folders)
    assert set(found) == {"/input/set.png.url", *(f"{path}.url" for path in BELOW)}
    assert store.read(files.below, store.bob.id, folders) == []
