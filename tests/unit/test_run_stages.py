"""The stages of a run in metrics and traces: each moment belongs to one stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from comfyward.runs.stages import stages_of


def run(worker_id: str | None = "worker", **times: int) -> Any:
    unknown = dict.fromkeys(("assigned_at", "staged_at", "started_at", "finished_at", "run_time_ms"))
    return SimpleNamespace(worker_id=worker_id, queued_at=1000, updated_at=9999, **{**unknown, **times})


def told(of: Any) -> list[tuple[str, int, int]]:
    return [(stage.name, stage.begin, stage.end) for stage in stages_of(of)]


def test_a_run_that_found_the_gpu_free() -> None:
    assert told(run(assigned_at=2000, started_at=3000, run_time_ms=4000, finished_at=8000)) == [
        ("queue", 1000, 2000),
        ("stage", 2000, 3000),
        ("execute", 3000, 7000),
        ("collect", 7000, 8000),
    ]


def test_waiting_for_the_gpu_is_not_staging() -> None:
    assert told(run(assigned_at=2000, staged_at=2200, started_at=6000, run_time_ms=1000, finished_at=8000)) == [
        ("queue", 1000, 2000),
        ("stage", 2000, 2200),
        ("line", 2200, 6000),
        ("execute", 6000, 7000),
        ("collect", 7000, 8000),
    ]
    assert told(run(assigned_at=2000, staged_at=2200, finished_at=8000))[-1] == ("line", 2200, 8000)


def test_a_run_that_ended_in_the_queue_has_one_stage() -> None:
    times = {"assigned_at": 2000, "staged_at": 2200, "started_at": 3000}  # of an attempt that was lost

    assert told(run(None, finished_at=8000)) == told(run(None, **times, finished_at=8000)) == [("queue", 1000, 8000)]
