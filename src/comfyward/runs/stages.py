"""The stages of a run's way, for its page, for measures and for traces."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.runs.run import Run


@dataclass(frozen=True)
class Stage:
    """A part of a run's way, in ms since the epoch."""

    name: str
    begin: int
    end: int


def stages_of(run: Run, now: int | None = None) -> list[Stage]:
    """queue → stage → line → execute → collect, as far as the run came; up to `now` where it is still on its way.

    A run is in line while its files are at the worker and another run has the GPU. One that ended in the queue has only
    waited: times of an attempt before that are no longer its own.
    """
    end = run.finished_at or now or run.updated_at
    if run.worker_id is None:
        return [Stage("queue", run.queued_at, end)]
    stages = [Stage("queue", run.queued_at, run.assigned_at or end)]
    if run.assigned_at is not None:
        stages.append(Stage("stage", run.assigned_at, run.staged_at or run.started_at or end))
    if run.staged_at is not None:
        stages.append(Stage("line", run.staged_at, run.started_at or end))
    if run.started_at is not None:
        executed = min(end, run.started_at + (run.run_time_ms or end - run.started_at))
        stages += [Stage("execute", run.started_at, executed), Stage("collect", executed, end)]
    return stages
