"""A graph may name one file or thousands, and folders of any letters: each is found, and nothing beside it."""

import dataclasses

import pytest

from comfyward.runs.files import Stored, Url
from comfyward.store import blobs, files, usable_files
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
        store.write(blobs.add, "d" * 64, "s" * 64, 1, 1)
        store.write(files.put, files.new_file(store.alice.id, path, "d" * 64, 1, "x/y", 1))
    sources = {f"{path}.url": {"url": "http://host/x"} for path in (*BESIDE, *BELOW)}
    store.write(files.link, store.alice.id, sources, 1)
    names = {"/input/set.png", *(f"/input/nothing {number}" for number in range(more))}
    folders = {"/input/set", *(f"/input/none {number}" for number in range(more))}

    assert [file.path for file in store.read(files.at, store.alice.id, names)] == ["/input/set.png"]
    found = store.read(usable_files.named, store.alice.id, {*names, *(f"{name}.url" for name in names)}, folders)
    linked = {"/input/set.png.url", *(f"{path}.url" for path in BELOW)}
    assert found == dict.fromkeys(("/input/set.png", *BELOW), Stored("d" * 64, 1)) | dict.fromkeys(
        linked, Url("http://host/x")
    )
    assert store.read(usable_files.named, store.bob.id, names, folders) == {}


def test_a_result_of_a_run_is_in_no_folder(store: Store) -> None:
    run_id = store.new_run("run")
    store.write(blobs.add, "d" * 64, "s" * 64, 1, 1)
    result = dataclasses.replace(
        files.new_file(store.alice.id, "/input/set/a.png", "d" * 64, 1, "x/y", 1), run_id=run_id
    )
    store.write(files.add_outputs, [result])

    assert store.read(usable_files.named, store.alice.id, [], ["/input/set"]) == {}


def test_half_a_character_is_in_no_name(store: Store) -> None:
    store.write(files.link, store.alice.id, {"/input/a": {"url": "http://host/x"}}, 1)

    found = store.read(usable_files.named, store.alice.id, ["/input/\ud800", "/input/\0", "/input/a"])

    assert found == {"/input/a": Url("http://host/x")}
