"""Prometheus metrics of this process's own work. Figures from the database are queried at each scrape."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

registry = CollectorRegistry()
of_environments = CollectorRegistry()
"""Those that name environments, which strangers do not see."""

MOST_ENVIRONMENTS = 100  # that are named; the others are counted together
OTHERS = "(others)"  # no environment's name

# From the milliseconds of a cached graph to the hour of a video.
SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

runs_submitted = Counter("comfyward_runs_submitted", "Runs submitted, by pool", ["pool"], registry=registry)
runs_ended = Counter("comfyward_runs_ended", "Runs finished, by pool and reason", ["pool", "reason"], registry=registry)
stage_seconds = Histogram(
    "comfyward_stage_seconds",
    "Time of runs in each stage: queue, stage (fetching files), line (for the GPU), execute (on it), collect (outputs)",
    ["pool", "stage"],
    buckets=SECONDS,
    registry=registry,
)
handed_out = Counter(
    "comfyward_handed_out",
    "Runs assigned to workers, by whether the worker had the run's models loaded (none: it needs no model)",
    ["pool", "models"],
    registry=registry,
)
recalled = Counter(
    "comfyward_recalled", "Staged runs taken back from busy workers for idle ones, by pool", ["pool"], registry=registry
)
webhook_attempts = Counter(
    "comfyward_webhook_attempts", "Attempts to deliver webhooks, by outcome", ["outcome"], registry=registry
)

environment_runs_ended = Counter(
    "comfyward_environment_runs_ended",
    "Runs finished, by environment and reason",
    ["environment", "reason"],
    registry=of_environments,
)
environment_switches = Counter(
    "comfyward_environment_switches",
    "Runs assigned to workers that had the ComfyUI of another environment, by that of the run",
    ["environment"],
    registry=of_environments,
)


class EnvironmentNames:
    """The names of environments as labels: the first MOST_ENVIRONMENTS that are asked for, OTHERS for the rest."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        if len(self._known) < MOST_ENVIRONMENTS:
            self._known.add(name)
        return name if name in self._known else OTHERS


environment_names = EnvironmentNames()
"""Those of this process's counters."""
