"""A worker's word on an environment lasts as long as its token has its id, and failures until somebody asks again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from comfyward.ids import hash_secret
from comfyward.store import environments, tokens, trials, workers
from comfyward.store.environments import StoredLock
from comfyward.store.schema import environment_trials
from comfyward.store.trials import Trial
from comfyward.store.workers import WorkerRow
from tests.store.conftest import Store

TARGET, NOW = "linux-x86_64/py3.11", 1_000_000
GOOD, BAD, NEWEST = "a" * 64, "b" * 64, "c" * 64


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
    assert [each.report for each in store.read(trials.of, [GOOD], NOW, [GOOD])] == ['{"classes": 5}']
    store.write(trials.set_ready, [], "w")
    assert store.read(trials.of, [GOOD], NOW) == []


def test_what_absent_workers_said_is_forgotten_but_for_the_last_good_trial_of_what_is_named(
    store: Store, token: str
) -> None:
    store.write(environments.add_revision, "portraits", "one", StoredLock(TARGET, NEWEST, "{}"), 2)
    for number, name in enumerate(("gone", "lost", "here")):
        joined(store, token, id=name)
        for digest in (GOOD, NEWEST):
            good = Trial(name, digest, token, True, "x", TARGET, trials.READY, NOW + number)
            store.write(trials.put_report, good, '{"classes": 5}', None)
    store.write(workers.touch, "here", NOW + 10, None)

    assert store.write(lambda conn: trials.prune(conn, environments.named(conn), NOW + 1)) == 3

    def said(digest: str) -> list[str]:
        return [each.trial.worker_id for each in store.read(trials.of, [digest], NOW)]

    assert (said(GOOD), said(NEWEST)) == (["here"], ["here", "lost"])
    assert store.write(lambda conn: trials.prune(conn, environments.named(conn), NOW + 1)) == 0


def test_reports_are_kept_of_the_last_few_workers_of_a_token_and_shown_of_fewer(store: Store, token: str) -> None:
    for number in range(trials.MOST_REPORTS + 5):
        joined(store, token, id=f"w{number:02}")
        good = Trial(f"w{number:02}", GOOD, token, True, "x", TARGET, trials.READY, NOW + number)
        store.write(trials.put_report, good, '{"classes": 5}', "picture")
    joined(store, _token(store, "second"), id="another")

    def stored(conn: Connection) -> int:
        return int(conn.scalar(select(func.count()).where(environment_trials.c.report.is_not(None))) or 0)

    assert store.read(stored) == trials.MOST_REPORTS
    shown = store.read(trials.of, [GOOD], NOW, [GOOD], 15)
    reported = [each.trial.worker_id for each in shown if each.report]
    assert (len(shown), reported) == (15, [f"w{number}" for number in range(15, 25)])


def test_workers_that_go_on_are_shown_first(store: Store, token: str) -> None:
    for number, (name, state) in enumerate((("a", "building"), ("b", trials.READY), ("c", trials.FAILED))):
        joined(store, token, id=name)
        store.write(trials.put, Trial(name, GOOD, token, True, "x", TARGET, state, NOW + number))
    store.write(workers.leave, "c", NOW)

    def shown(most: int) -> list[str]:
        return [each.trial.worker_id for each in store.read(trials.of, [GOOD], NOW, (), most)]

    assert [shown(most) for most in (1, 2, 3)] == [["a"], ["a", "b"], ["a", "b", "c"]]


def test_a_report_of_progress_changes_no_state(store: Store, token: str) -> None:
    joined(store, token)
    building = Trial("w", GOOD, token, True, "x", TARGET, "building", NOW)

    assert store.write(trials.put, building)
    assert not store.write(trials.put, replace(building, step="Installing packages", part=0.5))
    assert store.write(trials.put, replace(building, state=trials.READY))
