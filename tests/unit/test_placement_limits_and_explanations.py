"""Priority that grows with age, limits of accounts, and the words that a waiting run is given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfyward.dispatch.explanation import QueueStatus, explain
from comfyward.dispatch.placement import Rules, Worker, in_order, match, within_limits
from comfyward.runs.waiting_run import WaitingRun

AGEING_MS = 60_000


def run(name: str, *limits: str, priority: int = 0, turn: int = 0, queued_at: int = 0) -> WaitingRun:
    return WaitingRun(name, "L4", "default", queued_at, frozenset(), None, dict.fromkeys(limits, 1), priority, turn)


def names(runs: list[WaitingRun]) -> list[str]:
    return [each.id for each in runs]


def test_runs_are_ordered_by_priority_then_turn_then_age() -> None:
    runs = [
        run("late", queued_at=5),
        run("early", queued_at=1),
        run("turn", turn=9),
        run("urgent", priority=3, turn=99),
    ]

    assert names(in_order(runs, 10, AGEING_MS)) == ["urgent", "early", "late", "turn"]


def test_a_run_that_has_waited_long_comes_before_more_urgent_ones() -> None:
    runs = [run("old", priority=0, queued_at=0), run("urgent", priority=2, queued_at=AGEING_MS * 3)]

    assert names(in_order(runs, AGEING_MS * 3 - 1, 0)) == ["urgent", "old"]  # priority never grows
    assert names(in_order(runs, AGEING_MS * 3, AGEING_MS)) == ["old", "urgent"]


def test_accounts_start_no_more_runs_than_they_may() -> None:
    runs = [run("a1", "a"), run("a2", "a"), run("b1"), run("a3", "a"), run("c1", "c"), run("key", "a", "its key")]

    assert names(within_limits(runs, {"a": 2, "c": 0, "its key": 9})) == ["a1", "a2", "b1"]
    assert names(within_limits(runs, {"a": -1, "c": 1, "its key": 9})) == ["b1", "c1"]
    assert names(within_limits(runs, {"a": 9, "c": 0, "its key": 0})) == ["a1", "a2", "b1", "a3"]


def test_among_equal_workers_one_whose_host_has_the_files() -> None:
    workers = [Worker(name, "L4", "default", True, frozenset(), frozenset({name})) for name in ("a", "b", "c")]
    wanted = replace(run("r"), files=frozenset({"b", "other"}))

    [(worker, _)] = match(workers, [wanted], [], 0, Rules(0)).pairs

    assert worker.id == "b"


def standing(**changes: Any) -> QueueStatus:
    values: dict[str, Any] = {
        "pool": "L4",
        "place": 3,
        "workers": 2,
        "busy": 2,
        "is_served": True,
        "limit": None,
        "recent_ms": [9_000, 10_000, 50_000],
        "account_is_full": False,
        "warm_workers": 0,
        "has_models": True,
        "waits_for_warm_ms": 0,
        "pool_problem": None,
    }
    return QueueStatus(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "waits_for", "says", "expected_ms"),
    [
        ({}, "queue", "2 runs are ahead of it, and all 2 workers of pool L4 are busy.", 15_000),
        ({"place": 1}, "queue", "It is next", 5_000),
        ({"place": 1, "workers": 1, "busy": 1}, "queue", "and the only worker of pool L4 is busy.", 10_000),
        ({"place": 2, "recent_ms": []}, "queue", "1 run is ahead of it", None),
        ({"account_is_full": True}, "account", "limit of concurrent runs", None),
        ({"workers": 0, "busy": 0}, "worker", "A worker of pool L4 has to start first.", None),
        (
            {"workers": 0, "is_served": False},
            "pool",
            "No worker has ever joined pool L4, and no fleet is configured to start one.",
            None,
        ),
        ({"workers": 0, "pool_problem": "No node has an L4."}, "pool", "No node has an L4.", None),
        ({"workers": 0, "limit": 0}, "pool", "is limited to 0 workers", None),
        ({"place": 1, "busy": 1, "warm_workers": 1, "waits_for_warm_ms": 900}, "warm_worker", "models loaded", 900),
        ({"place": 1, "busy": 1}, "hand_out", "about to be assigned", 0),
    ],
)
def test_a_waiting_run_has_an_explanation(
    changes: dict[str, Any], waits_for: str, says: str, expected_ms: int | None
) -> None:
    found = explain(standing(**changes))

    assert (found.waits_for, found.expected_in_ms) == (waits_for, expected_ms)
    assert says in found.reason
