"""A run's phases: what has passed has a duration, what goes on grows, what is to come has none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from comfyward.runs.run import State
from comfyward.web import formatting
from comfyward.web.timeline import phases


def run(state: State, worker_id: str | None = "w", **times: int) -> Any:
    unknown = dict.fromkeys(("assigned_at", "staged_at", "started_at", "finished_at", "run_time_ms"))
    return SimpleNamespace(state=state, worker_id=worker_id, queued_at=1000, **{**unknown, **times})


def told(of: Any, now: int) -> list[tuple[str, int | None, bool]]:
    return [(phase.name, phase.duration_ms, phase.is_now) for phase in phases(of, now)]


def test_a_finished_run() -> None:
    done = run(State.SUCCEEDED, assigned_at=3000, started_at=4000, finished_at=10_000, run_time_ms=5000)

    assert told(done, 99_000) == [
        ("queued", 2000, False),
        ("files", 1000, False),
        ("executing", 5000, False),
        ("saving", 1000, False),
    ]
    assert sum(phase.part for phase in phases(done, 99_000)) == 100


def test_an_unfinished_run() -> None:
    assert told(run(State.QUEUED, None), 1500)[0] == ("queued", 500, True)
    fetching = told(run(State.ASSIGNED, assigned_at=3000), 3700)
    assert fetching[:3] == [("queued", 2000, False), ("files", 700, True), ("executing", None, False)]
    executing = told(run(State.RUNNING, assigned_at=3000, started_at=4000), 9000)
    assert executing[2:] == [("executing", 5000, True), ("saving", None, False)]


def test_a_staged_run_waits_for_the_gpu() -> None:
    in_line = run(State.ASSIGNED, assigned_at=3000, staged_at=3400)
    assert told(in_line, 4000)[1:4] == [
        ("files", 400, False),
        ("waiting for GPU", 600, True),
        ("executing", None, False),
    ]
    executing = run(State.RUNNING, assigned_at=3000, staged_at=3400, started_at=9000)
    assert told(executing, 9500)[1:4] == [
        ("files", 400, False),
        ("waiting for GPU", 5600, False),
        ("executing", 500, True),
    ]


def test_a_run_cancelled_in_the_queue() -> None:
    assert told(run(State.CANCELLED, None, finished_at=1200), 9000) == [
        ("queued", 200, False),
        ("files", None, False),
        ("executing", None, False),
        ("saving", None, False),
    ]


def test_a_requeued_run_after_a_lost_worker() -> None:
    again = run(State.QUEUED, None, assigned_at=3000, staged_at=3400, started_at=4000)

    assert told(again, 9000) == [
        ("queued", 8000, True),
        ("files", None, False),
        ("executing", None, False),
        ("saving", None, False),
    ]


def test_words_for_accelerators() -> None:
    assert [formatting.with_article(name) for name in ("L4", "T4", "H100", "RTX_4090", "CPU")] == [
        "an L4",
        "a T4",
        "an H100",
        "an RTX_4090",
        "a CPU",
    ]


def test_words_for_sizes_and_durations() -> None:
    assert [formatting.size(count) for count in (0, 999, 1000, 12_345_678, 5e15)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "12.3 MB",
        "5000 TB",
    ]
    assert [formatting.span(ms) for ms in (None, 0, 830, 4200, 185_000, 7_800_000)] == [
        "-",
        "0 ms",
        "830 ms",
        "4.2 s",
        "3 min 05 s",
        "2 h 10 min",
    ]
