"""A worker's word on an environment lasts as long as its token has its id, and failures until somebody asks again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfyward.ids import hash_secret
from comfyward.store import environments, tokens, trials, workers
from comfyward.store.environments import StoredLock
from comfyward.store.trials import Trial
from comfyward.store.workers import WorkerRow
from tests.store.conftest import Store

TARGET, NOW = "linux-x86_64/py3.11", 1_000_000
GOOD, BAD = "a" * 64, "b" * 64


@pytest.fixture
def token(store: Store) -> str:
    store.write(environments.create, "portraits", "one", 1)
    for digest in (GOOD, BAD):
        store.write(environments.add_revision, "portraits", "one", StoredLock(TARGET, digest, "{}"), 2)
    return _token(store, "first")


def _token(store: Store, name: str) -> str:
    secret = store.write(tokens.create, name, NOW)
    return str(store.read(lambda conn: tokens.in_use(conn, hash_secret(secret))).hash)


def joined(store: Store, token: str, **about: Any) -> None:
    names = dict.fromkeys(("incarnation", "device", "host", "sandbox"), "x")
    row = {"id": "w", "pool": "L4", "environment": "default", "target": TARGET, "token": token, **names, **about}
    times = {"started_at": NOW, "seen_at": NOW, "gone_at": None}
    store.write(workers.register, WorkerRow(**row, versions={}, local=False, **times))


def test_it_is_forgotten_with_the_token_and_a_failure_with_the_next_wish(store: Store, token: str) -> None:
    joined(store, token)
    good = Trial("w", GOOD, token, True, "x", TARGET, trials.READY, NOW)
    for trial in (good, replace(good, digest=BAD, state=trials.FAILED)):
        store.write(trials.put, trial)
    assert store.read(trials.done_by, "w") == {GOOD, BAD}

    store.write(environments.ask_to_try, "portraits", 2, NOW)
    assert store.read(trials.done_by, "w") == {GOOD}
    joined(store, _token(store, "second"))
    assert store.read(trials.done_by, "w") == set()
    assert store.read(trials.present, NOW) == []


def test_a_worker_that_joins_again_has_what_it_says_and_its_report_stays(store: Store, token: str) -> None:
    joined(store, token)
    good = Trial("w", GOOD, token, True, "x", TARGET, trials.READY, NOW)
    store.write(trials.put_report, good, '{"classes": 5}', None)

    store.write(trials.set_ready, [good], "w")
    assert [each.report for each in store.read(trials.of, [GOOD], NOW)] == ['{"classes": 5}']
    store.write(trials.set_ready, [], "w")
    assert store.read(trials.of, [GOOD], NOW) == []
