"""Prometheus metrics of this process's own work. Figures from the database are queried at each scrape."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

registry = CollectorRegistry()

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
webhook_attempts = Counter(
    "comfyward_webhook_attempts", "Attempts to deliver webhooks, by outcome", ["outcome"], registry=registry
)
