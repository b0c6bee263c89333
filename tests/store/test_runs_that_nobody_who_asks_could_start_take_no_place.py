"""However many runs wait for an environment that an asking worker does not have, those of other ones are seen."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Connection

from comfyward.dispatch.assignment import AssignmentRound
from comfyward.dispatch.placement import Rules, Worker
from comfyward.store import accounts, queue
from tests.store.conftest import Store

PORTRAITS, VIDEO = "a" * 64, "b" * 64


def waiting(store: Store, name: str, count: int, environment: str = PORTRAITS, priority: int = 100) -> None:
    for number in range(count):
        store.new_run(f"{name}{number}", environment=environment, priority=priority, created_at=number)


def test_runs_of_another_environment_fill_no_place(store: Store) -> None:
    waiting(store, "stuck", 20)
    store.new_run("own", account=store.bob, created_at=1000)

    def seen(*environments: str, aged_before: int = 0) -> list[str]:
        found = store.read(queue.heads, {"L4": environments}, 10, aged_before=aged_before)
        return [run.id for run in found]

    assert seen("default") == seen("default", aged_before=2000) == ["own"]
    assert len(seen(PORTRAITS)) == 10
    assert "own" in seen("default", PORTRAITS)
    assert seen() == []


def test_two_workers_with_one_environment_each_both_get_a_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.dispatch.assignment.QUEUE_LOOKAHEAD", 5)
    waiting(store, "portrait", 20)
    store.new_run("video", environment=VIDEO, account=store.bob, created_at=1000)
    asking = [_asking("w1", PORTRAITS), _asking("w2", VIDEO)]

    outcome = store.write(AssignmentRound(asking, (), Rules(0), {}, 10_000, {}).apply)

    given = {(each.run.worker_id, each.run.environment) for each in outcome.assigned}
    assert given == {("w1", PORTRAITS), ("w2", VIDEO)}
    assert outcome.is_any_left


def test_an_account_that_has_all_its_runs_hides_none_of_others(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfyward.dispatch.assignment.QUEUE_LOOKAHEAD", 5)
    store.write(accounts.set_share, store.alice.id, 1.0, 1, {})
    waiting(store, "portrait", 20)
    store.assign("portrait0", lease="taken", worker_id="busy")
    store.new_run("of-bob", environment=PORTRAITS, account=store.bob, created_at=1000)
    asking = [_asking("w1", PORTRAITS), _asking("w2", PORTRAITS)]

    outcome = store.write(AssignmentRound(asking, (), Rules(0), {}, 10_000, {}).apply)

    assert [each.run.id for each in outcome.assigned] == ["of-bob"]


def test_the_queue_of_an_environment_is_read_alone(store: Store) -> None:
    """By its index: the first rows that are read are those that are wanted."""
    assert _columns(store, "ix_runs_queue")[:2] == _columns(store, "ix_runs_oldest")[:2] == ["pool", "environment"]


def _columns(store: Store, index: str) -> list[str]:
    def defined(conn: Connection) -> str:
        if conn.dialect.name == "sqlite":
            return str(conn.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).scalar())
        return str(conn.exec_driver_sql("SELECT indexdef FROM pg_indexes WHERE indexname = %s", (index,)).scalar())

    found = re.search(r"\(([^()]+)\)", store.read(defined))
    assert found is not None
    return [each.strip(' "') for each in found[1].split(",")]


def _asking(name: str, environment: str) -> tuple[Worker, str]:
    return Worker(name, "L4", environment, True, frozenset(), ready=frozenset({environment})), "device"
