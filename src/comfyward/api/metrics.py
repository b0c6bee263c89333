"""GET /metrics for Prometheus: figures of the rows, the same from every server, and this server's own counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from comfyward import metrics
from comfyward.api.endpoint import TEXT, Endpoint, Models
from comfyward.dispatch.inventory import Inventory
from comfyward.store import queue, webhooks, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.workers import WorkerRow
from comfyward.workflows.catalog import Catalog, Failure


@dataclass(frozen=True)
class _Figures:
    """Figures of the rows at one moment."""

    queued: dict[str, int]
    oldest: dict[str, int]
    leases: dict[str, int]
    present: list[WorkerRow]
    busy: set[str]
    webhooks_waiting: int


class Metrics:
    def __init__(self, db: Database, inventory: Inventory) -> None:
        self._db, self._inventory = db, inventory

    def endpoints(self) -> list[Endpoint]:
        metrics = Models(answer=TEXT, needs_key=False)
        return [Endpoint("GET", "/metrics", self.get, "Metrics for Prometheus", metrics)]

    async def get(self, request: Request) -> Response:
        text = await exposition(self._db, await self._inventory.catalog_lately())
        return Response(text, media_type=CONTENT_TYPE_LATEST)


async def exposition(db: Database, catalog: Catalog | None) -> bytes:
    """All metrics in Prometheus' text format."""
    failures = catalog.failures if catalog else ()
    return generate_latest(_of_rows(await db.read(_figures), failures, now_ms())) + generate_latest(metrics.registry)


def _figures(conn: Connection) -> _Figures:
    leases, busy = queue.leases(conn)
    return _Figures(
        queue.lengths(conn),
        queue.oldest(conn),
        leases,
        workers.find(conn, now_ms() - workers.PRESENT_MS),
        busy,
        webhooks.count_waiting(conn),
    )


def _of_rows(now: _Figures, failures: Iterable[Failure], time_ms: int) -> CollectorRegistry:
    registry = CollectorRegistry()

    def gauge(name: str, about: str, labels: Iterable[str], values: Mapping[Any, float]) -> None:
        made = Gauge(f"comfyward_{name}", about, list(labels), registry=registry)
        for label_values, value in values.items():
            (made.labels(*label_values) if label_values else made).set(value)

    pools = {*now.queued, *now.leases, *(worker.pool for worker in now.present)}
    gauge("queue_length", "Runs that wait, by pool", ["pool"], {(pool,): now.queued.get(pool, 0) for pool in pools})
    ages = {(pool,): (time_ms - now.oldest.get(pool, time_ms)) / 1000 for pool in pools}
    gauge("queue_oldest_seconds", "How long the run that has waited longest waits, by pool", ["pool"], ages)
    gauge("leases", "Runs that workers have, by pool", ["pool"], {(pool,): now.leases.get(pool, 0) for pool in pools})
    present = Counter((worker.pool, worker.sandbox) for worker in now.present)
    gauge("workers", "Workers present, by pool and sandbox level", ["pool", "sandbox"], dict(present))
    busy = Counter((worker.pool,) for worker in now.present if worker.id in now.busy)
    workers_by_pool = Counter((worker.pool,) for worker in now.present)
    shares = {pool: busy[pool] / count for pool, count in workers_by_pool.items()}
    gauge("gpu_busy_share", "Part of a pool's workers that have a run now", ["pool"], shares)
    for field, about in (
        ("cache_bytes", "Bytes in the blob cache of each worker's host"),
        ("memory_bytes", "Memory of each worker's ComfyUI"),
        ("cache_hits", "Files that were in the host's cache when a run needed them, by worker, since it started"),
        ("cache_misses", "Files that had to be fetched, by worker, since it started"),
    ):
        values = {(worker.id, worker.pool): float(worker.vitals.get(field, 0)) for worker in now.present}
        gauge(f"worker_{field}", about, ["worker", "pool"], values)
    not_loaded = {(failure.kind, failure.name, failure.error): 1.0 for failure in failures}
    about = "Packs, files of ComfyUI's own nodes and single classes that did not load in ComfyUI, and why"
    gauge("not_loaded", about, ["kind", "name", "error"], not_loaded)
    gauge("webhooks_waiting", "Webhooks that are not delivered yet", [], {(): now.webhooks_waiting})
    return registry
