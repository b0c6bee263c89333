"""What packs bring for the editor counts for the pool of its worker, and for others with a token for any pool only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyward.dispatch.environment_overviews import REPORTED, overview
from comfyward.store import blobs, environments, web_files
from comfyward.store.environments import StoredLock
from comfyward.store.web_files import KEPT, Archive, Listed
from tests.store.conftest import Store

ONE, TWO, NOW = "1" * 64, "2" * 64, 1_000_000
SPEC = 'comfyui = "0.30.0"\n'
LISTING = '[["kj","/extensions/kj/a.js",3,"d"]]'
OF_ANY = Archive(ONE, "L4", "a" * 64, True, LISTING, NOW)
OF_POOL = Archive(ONE, "L4", "b" * 64, False, "[]", NOW + 1)


def chosen(store: Store, pool: str) -> str | None:
    found = web_files.chosen(store.read(web_files.find, [ONE]), pool)
    return found.digest if found else None


def test_a_token_for_any_pool_counts_more_than_one_for_a_pool(store: Store) -> None:
    assert store.read(web_files.listed, ONE) is None
    store.write(web_files.put, OF_POOL)
    assert (chosen(store, "L4"), chosen(store, "T4")) == (OF_POOL.digest, None)

    store.write(web_files.put, OF_ANY)
    assert (chosen(store, "L4"), chosen(store, "T4")) == (OF_ANY.digest, OF_ANY.digest)
    store.write(web_files.put, replace(OF_ANY, is_shared=False, listing="[]", sent_at=NOW + 9))
    assert chosen(store, "L4") == OF_ANY.digest
    assert store.read(web_files.listed, ONE) == [Listed("kj", "/extensions/kj/a.js", 3, "d")]
    newer = replace(OF_ANY, pool="T4", digest="c" * 64, sent_at=NOW + 2)
    store.write(web_files.put, newer)
    assert [chosen(store, pool) for pool in ("L4", "T4", "A10")] == [OF_ANY.digest, newer.digest, newer.digest]


def test_few_are_kept_and_their_blobs_with_them(store: Store) -> None:
    digests = [f"{number:064x}" for number in range(KEPT + 2)]
    store.write(web_files.put, OF_POOL)
    for number, digest in enumerate(digests):
        store.write(blobs.add, digest, digest, 1, NOW, "web_files")
        store.write(web_files.put, replace(OF_ANY, digest=digest, sent_at=NOW + number))

    assert {each.digest for each in store.read(web_files.find, [ONE])} == {OF_POOL.digest, *digests[2:]}
    assert sorted(store.read(blobs.orphans, NOW + 1)) == digests[:2]


def test_lists_are_read_once_and_for_the_newest_revisions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(environments.create, "portraits", SPEC, NOW)
    digests = [f"{number // 2:064x}" for number in range(REPORTED * 4)]
    for digest in digests:
        store.write(environments.add_revision, "portraits", SPEC, StoredLock("x", digest, "{}"), NOW)
    for digest in {*digests}:
        store.write(web_files.put, replace(OF_ANY, environment=digest))
    read, listed = list[str](), web_files.listed
    monkeypatch.setattr(web_files, "listed", lambda conn, digest: (read.append(digest), listed(conn, digest))[1])

    shown = store.read(overview, "portraits", NOW)["revisions"]

    assert [each["scripts"] is not None for each in shown] == [number < REPORTED for number in range(len(digests))]
    assert sorted(read) == sorted({*digests[-REPORTED:]})
    assert store.read(overview, "portraits", NOW, 1)["revisions"][0]["scripts"][0]["pack"] == "kj"


def test_they_go_with_the_last_revision_of_their_environment(store: Store) -> None:
    for name in ("portraits", "other"):
        store.write(environments.create, name, "one", NOW)
    for name, digest in (("portraits", ONE), ("portraits", TWO), ("other", TWO)):
        store.write(environments.add_revision, name, "one", StoredLock("x", digest, "{}"), NOW)
    for digest in (ONE, TWO):
        store.write(web_files.put, replace(OF_ANY, environment=digest))

    store.write(environments.delete_named, "portraits")

    assert [each.environment for each in store.read(web_files.find, [ONE, TWO])] == [TWO]
