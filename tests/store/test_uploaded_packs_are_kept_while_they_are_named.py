"""The archive of an uploaded pack stays as long as a spec or a revision names its files."""

from __future__ import annotations

from comfyward.ids import new_id
from comfyward.store import blobs, environment_trees, environments
from comfyward.store.environments import StoredLock
from tests.store.conftest import Store

SPEC, OF_REVISION, GONE, NEW = (each * 64 for each in "abcd")


def spec_of(*trees: str) -> str:
    return 'comfyui = "0.30.0"\n' + "".join(f'\n[[pack]]\nsource = "folder:p@{tree}"\n' for tree in trees)


def test_what_nothing_names_is_forgotten_after_a_while(store: Store) -> None:
    store.write(environments.create, "one", spec_of(OF_REVISION), 1)
    lock = StoredLock("linux", new_id(), "{}")
    store.write(environments.add_revision, "one", spec_of(OF_REVISION), lock, 1)
    store.write(environments.change_spec, "one", spec_of(OF_REVISION), spec_of(SPEC), 2)
    for tree, now in ((SPEC, 5), (OF_REVISION, 5), (GONE, 5), (NEW, 15)):
        store.write(environment_trees.put, tree, f"archive of {tree}"[:64], now)

    assert store.write(environment_trees.prune, 10) == 1

    kept = {tree: store.read(environment_trees.archive_of, tree) for tree in (SPEC, OF_REVISION, GONE, NEW)}
    assert [tree for tree, archive in kept.items() if archive is None] == [GONE]
    store.write(environments.delete_named, "one")
    assert store.write(environment_trees.prune, 10) == 2


def test_a_blob_that_is_an_archive_is_not_swept(store: Store) -> None:
    for digest in (SPEC, GONE):
        store.write(blobs.add, digest, "0" * 64, 1, 1, "tree.zip")
    store.write(environment_trees.put, SPEC, SPEC, 1)

    assert [store.write(blobs.begin_removal, digest, 10, 10) for digest in (SPEC, GONE)] == [False, True]
