"""Metrics, log lines and traces of runs: each is counted when it is queued and when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from comfyward import metrics
from comfyward.runs.change import Change, RunEnded, RunQueued
from comfyward.runs.run import Run
from comfyward.runs.stages import stages_of

log = logging.getLogger(__name__)


class Telemetry:
    """`trace` exports a run that has ended; None where traces are off."""

    def __init__(self, trace: Callable[[Run], None] | None) -> None:
        self._trace = trace

    def on_changes(self, changes: Sequence[Change]) -> None:
        """Counts them once those who wait for these changes have been answered."""
        asyncio.get_running_loop().call_soon(self.count, changes)

    def count(self, changes: Sequence[Change]) -> None:
        for change in changes:
            match change:
                case RunQueued(pool):
                    metrics.runs_submitted.labels(pool).inc()
                case RunEnded(run):
                    self._ended(run)

    def _ended(self, run: Run) -> None:
        metrics.runs_ended.labels(run.pool, str(run.end_reason)).inc()
        environment = metrics.environment_names.label(run.environment_alone)
        metrics.environment_runs_ended.labels(environment, str(run.end_reason)).inc()
        for stage in stages_of(run):
            metrics.stage_seconds.labels(run.pool, stage.name).observe((stage.end - stage.begin) / 1000)
        log.info(
            "run %s ended: %s",
            run.id,
            run.end_reason,
            extra={
                "action": "run_ended",
                "run": run.id,
                "account": run.account_id,
                "worker": run.worker_id,
                "environment": run.environment_label,
            },
        )
        if self._trace is not None:
            self._trace(run)
