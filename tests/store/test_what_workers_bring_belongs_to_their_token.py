"""Ids, catalogs, mirrors and fleets' tokens belong to the token that brought them."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.dispatch import worker_sessions
from comfyward.errors import Forbidden
from comfyward.ids import hash_secret
from comfyward.store import blobs, catalogs, fleets, leases, mirrors, tokens, workers
from comfyward.store.catalogs import KEPT_PER_POOL, CatalogRow
from comfyward.store.db import now_ms
from comfyward.store.fleets import FleetRow
from comfyward.store.workers import Announced, Holder, WorkerRow
from tests.store.conftest import Store

NOW = 1_000_000


def worker(token: str, **more: Any) -> WorkerRow:
    about = {"pool": "L4", "environment": "default", "device": "d", "host": "h", "sandbox": "none", "versions": {}}
    times = {"started_at": NOW, "seen_at": NOW, "gone_at": None}
    return WorkerRow(**{"id": "w", "incarnation": "i", "local": False, **about, **times, "token": token, **more})


@pytest.fixture
def first(store: Store) -> str:
    return hash_secret(store.write(tokens.create, "first", NOW))


@pytest.mark.parametrize(
    ("change", "is_held"),
    [
        ({}, True),
        ({"gone_at": NOW}, False),
        ({"seen_at": NOW - 10}, False),
        ({"token": ""}, False),
        ({"id": "o"}, False),
    ],
    ids=str,
)
def test_an_id_is_held_while_its_worker_is_at_work(
    store: Store, first: str, change: dict[str, Any], is_held: bool
) -> None:
    store.write(workers.register, worker(**{"token": first, "session": "s", **change}))

    assert store.read(workers.present_holder, "w", NOW - 5) == (Holder(first, "s") if is_held else None)


def test_an_id_of_a_revoked_token_is_free(store: Store, first: str) -> None:
    store.write(workers.register, worker(first))
    store.write(tokens.revoke, "first", NOW)

    assert store.read(workers.present_holder, "w", 0) is None


def test_a_worker_of_before_an_upgrade_is_adopted_once(store: Store) -> None:
    store.write(workers.register, worker(""))
    store.write(workers.adopt, "w", "mine")
    store.write(workers.adopt, "w", "another")

    assert store.read(workers.get, "w").token == "mine"


def test_ids_of_a_token_are_counted(store: Store, first: str) -> None:
    for number in range(3):
        store.write(workers.register, worker(first, id=f"w{number}", seen_at=NOW + number))

    assert store.read(workers.count_of, first, NOW + 1) == 2


def test_a_catalog_is_that_of_its_session(store: Store, first: str) -> None:
    for name, session in (("a", "s"), ("b", "s"), ("c", "t"), ("old", "")):
        store.write(workers.register, worker(first, id=name, session=session))

    def senders(session: str) -> list[str]:
        return [each.id for each in store.read(workers.of_session, Holder(first, session))]

    assert [senders(session) for session in ("s", "t", "", "of nobody")] == [["a", "b"], ["c"], ["old"], ["old"]]
    assert store.read(workers.of_session, Holder("another", "s")) == []


@pytest.mark.parametrize(
    ("again", "is_another"),
    [({}, False), ({"incarnation": "j"}, True), ({"session": "t"}, True), ({"session": ""}, True)],
    ids=str,
)
def test_another_life_of_an_id_takes_its_place(
    store: Store, first: str, again: dict[str, Any], is_another: bool
) -> None:
    assert store.write(workers.register, worker(first, session="s")) is False

    assert store.write(workers.register, worker(first, **{"session": "s", **again})) is is_another


def test_a_token_is_not_used_for_ids_without_end(store: Store, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_sessions, "IDS_PER_TOKEN", 2)
    token, now = store.read(tokens.in_use, first), now_ms()
    for name in ("a", "b"):
        store.write(worker_sessions._register, worker(first, id=name, seen_at=now), token, 0)

    with pytest.raises(Forbidden, match="was used for 2 workers within an hour"):
        store.write(worker_sessions._register, worker(first, id="c", seen_at=now), token, 0)

    store.write(worker_sessions._register, worker(first, id="b", incarnation="again", seen_at=now), token, 0)


def test_a_lease_belongs_to_the_session_of_its_worker(store: Store, first: str) -> None:
    store.write(workers.register, worker(first, session="s"))
    store.assign(store.new_run("r"), "lease", "w")

    assert store.read(workers.holder_of, "lease") == Holder(first, "s")
    assert store.read(workers.holder_of, "another") is None
    expires_at = now_ms() + 10_000
    assert store.write(leases.renew, "another", ["lease"], expires_at=expires_at) == set()
    assert store.write(leases.renew, "w", ["lease"], expires_at=expires_at) == {"lease"}


def row(digest: str, at: int, pool: str = "L4", *, shared: bool = False) -> CatalogRow:
    return CatalogRow("default", pool, digest, shared, at)


def test_catalogs_stand_side_by_side(store: Store) -> None:
    for each in (row("a", 1), row("b", 2), row("a", 3, "T4"), row("a", 4, "T4", shared=True)):
        store.write(catalogs.put, each, f"text {each.digest}")

    assert store.read(catalogs.find) == [row("a", 4, "T4", shared=True), row("b", 2), row("a", 1)]
    assert store.read(catalogs.body, "b") == "text b"
    assert store.read(catalogs.body, "c") is None
    assert store.read(catalogs.newest) == "text a"


def test_a_lesser_token_changes_no_shared_catalog(store: Store) -> None:
    store.write(catalogs.put, row("a", 1, shared=True), "a")

    assert not store.write(catalogs.touch, row("a", 5))
    store.write(catalogs.put, row("a", 6), "a")
    for number in range(KEPT_PER_POOL + 3):
        store.write(catalogs.put, row(f"flood {number}", 10 + number), "flood")

    kept = store.read(catalogs.find)
    assert row("a", 1, shared=True) in kept
    assert len(kept) == KEPT_PER_POOL + 1


def test_a_flood_of_catalogs_removes_none_that_a_worker_has(store: Store, first: str) -> None:
    at = {"seen_at": NOW, "started_at": NOW - 1}
    for name, digest in (("w", "mine"), ("v", "mine"), ("thief", "thief's"), ("gone", "gone's"), ("of T4", "T4's")):
        more = {"pool": "T4"} if name == "of T4" else {"gone_at": NOW} if name == "gone" else {}
        store.write(workers.register, worker(first, id=name, catalog_digest=digest, **at, **more))
    for digest in ("mine", "gone's"):
        store.write(catalogs.put, row(digest, NOW), digest)

    for number in range(KEPT_PER_POOL + 3):
        store.write(catalogs.put, row(f"flood {number}", NOW + number + 1), "flood")

    kept = [each.digest for each in store.read(catalogs.find)]
    assert len(kept) == KEPT_PER_POOL
    assert "mine" in kept
    assert "gone's" not in kept
    assert store.read(workers.announced, "default", NOW) == [
        Announced("L4", "mine", 2, NOW - 1),
        Announced("T4", "T4's", 1, NOW - 1),
        Announced("L4", "thief's", 1, NOW - 1),
    ]
    assert store.read(workers.announced, "default", NOW + 1) == store.read(workers.announced, "other", NOW) == []


def test_a_catalog_that_is_announced_is_the_newest(store: Store) -> None:
    store.write(catalogs.put, row("a", 1), "a")
    store.write(catalogs.put, row("b", 2), "b")

    assert store.write(catalogs.touch, row("a", 3))
    assert not store.write(catalogs.touch, row("c", 4))

    assert [each.digest for each in store.read(catalogs.find)] == ["a", "b"]


def test_mirrors_of_pools_stand_side_by_side(store: Store) -> None:
    for digest in ("a", "b"):
        store.write(blobs.add, digest, digest, 1, NOW)
    store.write(mirrors.put, "key", "L4", "a", NOW)
    store.write(mirrors.put, "key", "", "b", NOW)
    store.write(mirrors.put, "key", "L4", "b", NOW + 1)

    found = store.read(mirrors.find, ["key", "other"])
    assert [(each.pool, each.digest, each.used_at) for each in found] == [("", "b", NOW), ("L4", "b", NOW + 1)]
    store.write(mirrors.touch, [("key", "")], NOW + 5)
    assert store.write(mirrors.drop_unused, NOW + 5) == 1
    assert [each.pool for each in store.read(mirrors.find, ["key"])] == [""]


def test_tokens_that_a_fleet_made_end_with_its_own(store: Store) -> None:
    fleet = hash_secret(store.write(tokens.create, "ray", NOW, role="fleet"))
    store.write(tokens.ensure, "h" * 64, "fleet ray L4", "L4", NOW, made_by=fleet, expires_at=NOW + 9)
    store.write(tokens.ensure, "h" * 64, "fleet thief L4", "L4", NOW, made_by="thief")

    made = store.read(tokens.in_use, "h" * 64)
    assert (made.made_by, made.expires_at, made.is_operators, made.is_shared) == (fleet, NOW + 9, True, False)
    assert store.read(tokens.made_by, fleet) == {"h" * 64}
    assert store.write(tokens.revoke, "ray", NOW) == 1
    assert store.read(tokens.in_use, "h" * 64) is None


def test_a_token_of_before_an_upgrade_is_its_fleets(store: Store) -> None:
    store.write(tokens.ensure, "h" * 64, "fleet ray L4", "L4", NOW)
    store.write(tokens.ensure, "h" * 64, "fleet thief L4", "L4", NOW, made_by="thief")
    store.write(tokens.ensure, "h" * 64, "fleet ray L4", "L4", NOW, made_by="ray")

    assert store.read(tokens.in_use, "h" * 64).made_by == "ray"


def test_a_fleets_name_is_held_while_it_reports(store: Store, first: str) -> None:
    store.write(fleets.put, FleetRow("farm", {}, NOW, first))

    assert store.read(fleets.is_held_by_another, "farm", "another", NOW)
    assert not store.read(fleets.is_held_by_another, "farm", first, NOW)
    assert not store.read(fleets.is_held_by_another, "farm", "another", NOW + 1)
    store.write(tokens.revoke, "first", NOW)
    assert not store.read(fleets.is_held_by_another, "farm", "another", NOW)
