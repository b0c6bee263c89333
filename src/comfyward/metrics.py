"""What this process counts of its own work, for Prometheus; what rows know is read from them when asked."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

registry = CollectorRegistry()

# From a cached graph's milliseconds to a film's hour.
SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)

runs_submitted = Counter("comfyward_runs_submitted", "Runs taken in, by pool", ["pool"], registry=registry)
runs_ended = Counter(
    "comfyward_runs_ended", "Runs that are over, by pool and reason", ["pool", "reason"], registry=registry
)
stage_seconds = Histogram(
    "comfyward_stage_seconds",
    "How long runs were in each stage: queue, stage (files), line (for the GPU), execute (its time), collect (outputs)",
    ["pool", "stage"],
    buckets=SECONDS,
    registry=registry,
)
handed_out = Counter(
    "comfyward_handed_out",
    "Runs handed to workers, by whether the worker held the run's models (none: it needs no model)",
    ["pool", "models"],
    registry=registry,
)
webhook_attempts = Counter("comfyward_webhook_attempts", "Webhooks tried, by outcome", ["outcome"], registry=registry)
