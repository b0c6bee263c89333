"""Lockings wait for a server, one for each environment, and are taken over from servers that ended."""

from __future__ import annotations

import msgspec
import pytest

from comfyward.dispatch.lockings import LockingFinds, accept
from comfyward.environments.lock import Lock, LockedComfyUI
from comfyward.errors import Conflict, NotFound
from comfyward.store import environments, lockings
from comfyward.store.environments import StoredLock
from comfyward.store.lockings import RELOCK, UPDATE, Wish
from tests.store.conftest import Store

NEVER = 0  # nothing was left before this


@pytest.fixture(autouse=True)
def portraits(store: Store) -> None:
    store.write(environments.create, "portraits", "one", 1)


def claim(store: Store, server: str, now: int, left_before: int = NEVER, working: tuple[str, ...] = ()) -> list[str]:
    return [each.id for each in store.write(lockings.claim, server, working, 5, now, left_before)]


def test_the_same_wish_is_the_same_locking_and_another_one_is_refused(store: Store) -> None:
    first = store.write(lockings.begin, "portraits", Wish(), 2)
    assert store.write(lockings.begin, "portraits", Wish(), 3) == first
    with pytest.raises(Conflict, match="is being locked already"):
        store.write(lockings.begin, "portraits", Wish(RELOCK), 4)
    store.write(environments.change_spec, "portraits", "one", "two", 5)
    with pytest.raises(Conflict):
        store.write(lockings.begin, "portraits", Wish(), 6)

    store.write(lockings.cancel, "portraits", 7)

    assert store.read(lockings.latest, "portraits").state == "cancelled"
    assert store.write(lockings.begin, "portraits", Wish(), 8).spec == "two"
    with pytest.raises(NotFound):
        store.write(lockings.begin, "landscapes", Wish(), 9)


def test_a_server_has_it_while_it_renews_it(store: Store) -> None:
    key = store.write(lockings.begin, "portraits", Wish(), 2).id
    assert claim(store, "a", 10) == [key]
    assert claim(store, "b", 11) == []
    assert store.write(lockings.renew, key, "a", "Choosing packages", 0.5, 20)
    assert claim(store, "b", 21, left_before=20) == []

    assert claim(store, "b", 60, left_before=30) == [key]

    assert not store.write(lockings.renew, key, "a", "Saving", None, 61)
    assert not store.write(lockings.fail, key, "a", "No.", "", 62)
    assert not store.write(lockings.is_of, key, "a")
    assert store.write(lockings.is_of, key, "b")
    store.write(lockings.complete, key, 1, is_new=True, found="{}", now=63)
    found = store.read(lockings.latest, "portraits")
    assert (found.state, found.revision, found.is_new, found.finished_at) == ("done", 1, True, 63)


def test_what_is_cancelled_or_deleted_is_nobodys(store: Store) -> None:
    key = store.write(lockings.begin, "portraits", Wish(), 2).id
    assert claim(store, "a", 10) == [key]
    store.write(lockings.cancel, "portraits", 11)
    assert not store.write(lockings.is_of, key, "a")
    with pytest.raises(NotFound, match="is not being locked"):
        store.write(lockings.cancel, "portraits", 12)

    key = store.write(lockings.begin, "portraits", Wish(), 13).id
    assert claim(store, "a", 14) == [key]
    store.write(environments.delete_named, "portraits")
    assert not store.write(lockings.renew, key, "a", "", None, 15)
    assert store.read(lockings.latest, "portraits") is None


def test_one_that_ends_its_servers_fails(store: Store) -> None:
    key = store.write(lockings.begin, "portraits", Wish(), 2).id
    assert claim(store, "a", 10) == [key]
    assert store.write(lockings.give_back, key, "a")  # it stopped as it should: this does not count
    for number in range(3):
        assert claim(store, f"b{number}", 20, left_before=21) == [key]
        assert claim(store, f"b{number}", 20, left_before=21, working=(key,)) == []

    assert claim(store, "c", 30, left_before=31) == []

    found = store.read(lockings.latest, "portraits")
    assert (found.state, found.finished_at, "3 times" in found.message) == ("failed", 30, True)


def test_an_update_is_accepted_once_and_only_of_the_spec_that_it_read(store: Store) -> None:
    release = LockedComfyUI("0.30.0", "0.30.0", "1" * 64)

    def proposed(spec: str) -> None:
        key = store.write(lockings.begin, "portraits", Wish(UPDATE), 2).id
        assert claim(store, "a", 3) == [key]
        found = LockingFinds(spec, Lock("linux/py3.11", release, (), ()))
        store.write(lockings.propose, key, msgspec.json.encode(found).decode(), 4)

    proposed("one")
    store.write(environments.change_spec, "portraits", "one", "two", 5)
    with pytest.raises(Conflict, match="was changed since the update was proposed"):
        store.write(accept, "portraits", 6)

    proposed("two")
    assert store.write(accept, "portraits", 7) == 1
    with pytest.raises(NotFound, match="No update of 'portraits' is proposed"):
        store.write(accept, "portraits", 8)
    assert [each.number for each in store.read(environments.revisions, "portraits")] == [1]


def test_one_revision_of_an_environment_promotes_itself(store: Store) -> None:
    for number in (1, 2):
        lock = StoredLock("linux/py3.11", str(number) * 64, "{}")
        assert store.write(environments.add_revision, "portraits", "one", lock, 2) == number
        store.write(environments.promote_when_ready, "portraits", number)
    assert store.read(environments.to_promote) == [("portraits", 2)]
    store.write(environments.make_current, "portraits", 1, 3)
    assert store.read(environments.to_promote) == []
