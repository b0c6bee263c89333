"""Environments have numbered revisions that never change, and a spec that the next revision is made of."""

from __future__ import annotations

import pytest

from comfyward.errors import Conflict, NotFound
from comfyward.store import environments
from comfyward.store.environments import StoredLock
from tests.store.conftest import Store

LOCK = StoredLock("linux-x86_64/py3.11", "a" * 64, "{}")


def test_revisions_are_numbered_and_kept(store: Store) -> None:
    store.write(environments.create, "portraits", "one", 1)
    assert store.read(environments.get, "portraits").newest == 0
    assert store.write(environments.add_revision, "portraits", "one", LOCK, 2) == 1
    store.write(environments.change_spec, "portraits", "one", "two", 3)
    second = StoredLock(LOCK.target, "b" * 64, "{2}")
    assert store.write(environments.add_revision, "portraits", "two", second, 4) == 2

    found = store.read(environments.revisions, "portraits")
    assert [(each.number, each.spec, dict(each.digests)) for each in found] == [
        (2, "two", {LOCK.target: "b" * 64}),
        (1, "one", {LOCK.target: "a" * 64}),
    ]
    assert store.read(environments.lock_of, "portraits", 1, LOCK.target) == LOCK
    assert [(name, number) for name, number, _ in store.read(environments.locks)] == [
        ("portraits", 2),
        ("portraits", 1),
    ]
    with pytest.raises(NotFound, match=r"locked for linux-x86_64/py3.11, not for linux-x86_64/py3.12"):
        store.read(environments.lock_of, "portraits", 1, "linux-x86_64/py3.12")
    with pytest.raises(NotFound, match="no revision 3"):
        store.read(environments.lock_of, "portraits", 3, LOCK.target)


def test_a_name_is_taken_once_and_free_again(store: Store) -> None:
    store.write(environments.create, "portraits", "one", 1)
    with pytest.raises(Conflict, match="There is an environment 'portraits' already"):
        store.write(environments.create, "portraits", "two", 2)
    store.write(environments.add_revision, "portraits", "one", LOCK, 2)
    store.write(environments.delete_named, "portraits")
    assert store.read(environments.find) == []
    store.write(environments.create, "portraits", "two", 3)
    assert store.read(environments.revisions, "portraits") == []


def test_a_change_of_what_was_not_read_is_refused(store: Store) -> None:
    store.write(environments.create, "portraits", "one", 1)
    store.write(environments.change_spec, "portraits", "one", "two", 2)
    with pytest.raises(Conflict, match="changed at the same time"):
        store.write(environments.change_spec, "portraits", "one", "three", 3)
    assert store.read(environments.get, "portraits").spec == "two"
    for operation in (environments.get, environments.revisions):
        with pytest.raises(NotFound):
            store.read(operation, "other")
    with pytest.raises(NotFound):
        store.write(environments.add_revision, "other", "one", LOCK, 1)


def test_the_current_revision_and_those_before_it_are_remembered(store: Store) -> None:
    store.write(environments.create, "portraits", "one", 1)
    digests = [letter * 64 for letter in "abcde"]
    for digest in digests:
        store.write(environments.add_revision, "portraits", "one", StoredLock(LOCK.target, digest, "{}"), 2)
    for number in (1, 3, 3, 4, 5):
        store.write(environments.make_current, "portraits", number, 3)

    assert store.read(environments.current_of, "portraits") == 5
    assert store.read(environments.needed) == {digests[4], digests[3], digests[2]}
    assert [store.write(environments.roll_back, "portraits", 4) for _ in range(3)] == [4, 3, 1]
    with pytest.raises(Conflict):
        store.write(environments.roll_back, "portraits", 4)
    assert store.read(environments.current_of, "portraits") == 1
    assert store.read(environments.current_of, "landscapes") is None


def test_no_environment_is_named_as_the_one_of_the_workers_start(store: Store) -> None:
    with pytest.raises(Conflict):
        store.write(environments.create, "default", "one", 1)
