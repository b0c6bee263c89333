"""The part of GET /metrics about environments: their queues, and how far workers are with their revisions."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from sqlalchemy import Connection

from comfyward.api.gauges import add_gauge
from comfyward.metrics import MOST_ENVIRONMENTS, OTHERS
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import environments, queue, trials, workers
from comfyward.store.db import now_ms
from comfyward.store.environments import Standing
from comfyward.store.trials import Present

CURRENT, NEWEST = "current", "newest"


@dataclass(frozen=True)
class Figures:
    """Figures of the rows at one moment: runs by environment, revisions, and what present workers say of these."""

    queued: Mapping[str, int]
    leased: Mapping[str, int]
    standing: Mapping[str, Standing]
    present: list[Present]


def figures(conn: Connection) -> Figures:
    return Figures(
        queue.queued_by_environment(conn),
        queue.leased_by_environment(conn),
        environments.standing(conn),
        trials.present(conn, now_ms() - workers.PRESENT_MS),
    )


def of_rows(now: Figures) -> CollectorRegistry:
    """The gauges. The first MOST_ENVIRONMENTS are named, in the order of their names, the same at every server."""
    names = [DEFAULT_ENVIRONMENT, *sorted({*now.standing, *now.queued, *now.leased} - {DEFAULT_ENVIRONMENT})]
    labels = {name: name if place < MOST_ENVIRONMENTS else OTHERS for place, name in enumerate(names)}
    registry = CollectorRegistry()
    gauge = functools.partial(add_gauge, registry)
    for field, about, counts in (
        ("queue_length", "Runs that wait, by environment", now.queued),
        ("leases", "Runs that workers have, by environment", now.leased),
    ):
        values = Counter[tuple[str]]()
        for name, label in labels.items():
            values[(label,)] += counts.get(name, 0)
        gauge(f"environment_{field}", about, ["environment"], values)
    about = "Present workers by the state of an environment's current or newest revision at them"
    gauge("environment_workers", about, ["environment", "revision", "state"], _states(now, labels))
    return registry


def _states(now: Figures, labels: Mapping[str, str]) -> Mapping[tuple[str, str, str], int]:
    """The number of workers by (environment, which of its revisions, state)."""
    by_digest: dict[str, Counter[str]] = {}
    for each in now.present:
        by_digest.setdefault(each.digest, Counter())[each.state] += 1
    values = Counter[tuple[str, str, str]]()
    for name, standing in now.standing.items():
        for which, number in ((CURRENT, standing.current), (NEWEST, max(standing.digests, default=0))):
            for digest in standing.digests.get(number or 0, {}).values():
                for state, count in by_digest.get(digest, {}).items():
                    values[labels[name], which, state] += count
    return values
