"""A staged run is taken back for an idle worker once it has waited as long as the move costs, and else stays."""

from __future__ import annotations

from typing import Any

import pytest

from comfyward.dispatch.placement import Rules, Worker, match
from comfyward.dispatch.recalls import (
    FETCHED_BYTES_PER_MS,
    KEPT_MS,
    MOVE_MS,
    UNKNOWN_MODEL_BYTES,
    Idle,
    as_kept,
    cost_ms,
    recalls,
)
from comfyward.runs.staged_run import BroughtFile, StagedRun
from comfyward.runs.waiting_run import WaitingRun

START_MS = 2_000
RULES = Rules(affinity_wait_ms=START_MS)
GIB = 1 << 30


def staged(name: str = "r", *, at: int = 0, host: str = "busy host", files: Any = (), **about: Any) -> StagedRun:
    values = {"pool": "L4", "environment": "default", "queued_at": 0, "models": frozenset(), "account_id": "alice"}
    run = WaitingRun(name, **{**values, **about})
    return StagedRun(run, f"lease of {name}", "busy", host, at, files)


def idle(name: str = "idle", *, host: str = "idle host", **about: Any) -> Idle:
    values = {"pool": "L4", "environment": "default", "idle": False, "warm": frozenset()}
    return Idle(Worker(name, **{**values, **about}), host)


def moved(runs: list[StagedRun], workers: list[Idle], now: int, rules: Rules = RULES) -> list[tuple[str, str]]:
    return [(recall.staged.run.id, recall.worker_id) for recall in recalls(runs, workers, now, rules)]


def test_it_waits_for_as_long_as_the_messages_take() -> None:
    assert moved([staged(at=5)], [idle()], 5 + MOVE_MS - 1) == []
    assert moved([staged(at=5)], [idle()], 5 + MOVE_MS) == [("r", "idle")]


@pytest.mark.parametrize(
    "about",
    [{"account": "bob"}, {"environment": "other", "ready": frozenset({"default"})}],
    ids=["another account's ComfyUI", "another environment's"],
)
def test_it_waits_for_as_long_as_a_start_of_comfyui_takes(about: dict[str, Any]) -> None:
    assert cost_ms(staged(), idle(**about), RULES) == MOVE_MS + START_MS


def test_models_that_are_not_loaded_cost_as_much_as_a_start() -> None:
    run = staged(models=frozenset({"a"}))

    assert cost_ms(run, idle(), RULES) == MOVE_MS + START_MS
    assert cost_ms(run, idle(account="alice", warm=frozenset({"a", "b"})), RULES) == MOVE_MS


def test_a_large_download_is_not_worth_a_few_seconds() -> None:
    run = staged(files=[BroughtFile("digest", is_model=True, size=30 * GIB)])
    fetched_ms = 30 * GIB // FETCHED_BYTES_PER_MS

    assert fetched_ms > 300_000
    assert moved([run], [idle()], MOVE_MS + fetched_ms - 1) == []
    assert moved([run], [idle()], MOVE_MS + fetched_ms) == [("r", "idle")]


@pytest.mark.parametrize(
    "has",
    [{"cached": frozenset({"digest"})}, {"in_memory": frozenset({"digest"})}, {"host": "busy host"}],
    ids=["in the cache", "in memory", "on the same host"],
)
def test_files_that_the_idle_host_has_cost_nothing(has: dict[str, Any]) -> None:
    run = staged(files=[BroughtFile("digest", is_model=True, size=30 * GIB)])

    assert cost_ms(run, idle(**has), RULES) == MOVE_MS


def test_a_model_of_unknown_size_is_taken_for_a_large_one_and_a_picture_for_a_small_one() -> None:
    model, picture = (staged(files=[BroughtFile("url", is_model, None)]) for is_model in (True, False))

    assert cost_ms(model, idle(), RULES) == MOVE_MS + UNKNOWN_MODEL_BYTES // FETCHED_BYTES_PER_MS
    assert cost_ms(picture, idle(), RULES) < MOVE_MS + 1_000


@pytest.mark.parametrize(
    ("run", "worker"),
    [
        ({}, {"pool": "T4"}),
        ({"environment": "portraits"}, {}),
        ({"avoid_worker_id": "idle"}, {}),
        ({}, {"full": frozenset({"alice"})}),
    ],
    ids=["another pool", "without the environment", "where it failed before", "fetches enough for its account"],
)
def test_a_worker_that_would_not_be_assigned_the_run_gets_none(run: dict[str, Any], worker: dict[str, Any]) -> None:
    assert moved([staged(**run)], [idle(**worker)], 10**9) == []


def test_each_worker_gets_the_run_that_the_queue_would_assign_first() -> None:
    runs = [staged("late", turn=2), staged("urgent", turn=9, priority=1), staged("first", turn=1)]

    assert moved(runs, [idle("a"), idle("b")], 10**6) == [("urgent", "a"), ("first", "b")]


def test_the_cheapest_of_several_idle_workers_gets_it() -> None:
    workers = [idle("a", account="bob"), idle("c", account="alice"), idle("b", account="alice")]

    assert moved([staged()], workers, 10**6) == [("r", "b")]


def test_a_recalled_run_goes_to_its_worker_and_for_a_while_to_no_other() -> None:
    run = WaitingRun("r", "L4", "default", 0, frozenset({"a"}), kept_for="idle", given_back_at=1_000)
    holder = Worker("busy", "L4", "default", False, frozenset({"a"}))
    new = Worker("idle", "L4", "default", False, frozenset())
    soon, late = 1_000 + KEPT_MS - 1, 1_000 + KEPT_MS

    def pairs(asking: list[Worker], now: int) -> list[str]:
        found = match(asking, [as_kept(run, now, set())], [holder, new], now, Rules(affinity_wait_ms=10**9))
        return [worker.id for worker, _ in found.pairs]

    assert pairs([holder, new], soon) == ["idle"]
    assert pairs([holder], soon) == []
    assert pairs([holder], late) == ["busy"]


def test_it_is_no_longer_kept_for_a_worker_that_executes_another_by_now() -> None:
    run = WaitingRun("r", "L4", "default", 0, frozenset(), kept_for="idle", given_back_at=1_000)

    assert as_kept(run, 1_000, {"another"}).kept_for == "idle"
    assert as_kept(run, 1_000, {"idle"}).kept_for is None


def test_neither_does_the_worker_on_which_it_failed_before_take_it() -> None:
    run = WaitingRun("r", "L4", "default", 0, frozenset(), "failed", kept_for="idle")

    assert match([Worker("failed", "L4", "default", True, frozenset())], [run], [], 0, RULES).pairs == []
