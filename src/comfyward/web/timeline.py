"""A run's way as phases with durations. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.runs.run import Run, State


@dataclass(frozen=True)
class Phase:
    """One stretch of a run. `duration_ms` is None for what has not begun; `part` is its share in percent."""

    name: str
    duration_ms: int | None
    is_now: bool
    part: int


def phases(run: Run, now: int) -> list[Phase]:
    """queued, files, next in line, executing, saving: of the last attempt, up to now for a run that is on its way.

    A run that found the GPU free was not in line.
    """
    until = run.finished_at or now
    executed_at = None
    if run.started_at is not None and run.run_time_ms is not None:
        executed_at = min(until, run.started_at + run.run_time_ms)
    is_assigned, in_line = run.state is State.ASSIGNED, run.staged_at is not None
    marks = [
        ("queued", run.queued_at, run.assigned_at, run.state is State.QUEUED),
        ("files", run.assigned_at, run.staged_at or run.started_at, is_assigned and not in_line),
        *([("next in line", run.staged_at, run.started_at, is_assigned)] if in_line else []),
        ("executing", run.started_at, executed_at, run.state is State.RUNNING),
        ("saving", executed_at, run.finished_at, False),
    ]
    spans = [(name, _span(begin, end, until), is_now) for name, begin, end, is_now in marks]
    whole = sum(duration or 0 for _, duration, _ in spans) or 1
    return [Phase(name, duration, is_now, round((duration or 0) * 100 / whole)) for name, duration, is_now in spans]


def _span(begin: int | None, end: int | None, until: int) -> int | None:
    return None if begin is None else max(0, (end if end is not None else until) - begin)
