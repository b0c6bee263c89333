"""The stages of a run, with their times: for its page, metrics and traces."""

from __future__ import annotations

from dataclasses import dataclass

from comfyward.runs.run import Run


@dataclass(frozen=True)
class Stage:
    """One stage of a run. Times are ms since the epoch."""

    name: str
    begin: int
    end: int


def stages_of(run: Run, now: int | None = None) -> list[Stage]:
    """The stages queue, stage, line, execute and collect that a run has reached; an unfinished one, until `now`.

    A run is in line while its files are at the worker and another run has the GPU. A run that ended in the queue has no
    stage but the queue: the times of an earlier attempt are not its own.
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
