"""GET /metrics for Prometheus: figures of the rows, the same from every server, and this server's own counters.

Strangers get figures of pools. Workers, hosts, environments and what does not load are shown to admins and to the
metrics token.
"""

from __future__ import annotations

import functools
import hmac
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from comfyward import metrics
from comfyward.api import environment_metrics
from comfyward.api.auth import Auth
from comfyward.api.endpoint import TEXT, Endpoint, Models
from comfyward.api.gauges import add_gauge
from comfyward.dispatch.inventory import Inventory
from comfyward.errors import Forbidden, Unauthenticated
from comfyward.store import leases, queue, webhooks, workers
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
    def __init__(self, db: Database, inventory: Inventory, auth: Auth, token: str | None) -> None:
        """With `token`, strangers get nothing."""
        self._db, self._inventory, self._auth, self._token = db, inventory, auth, token

    def endpoints(self) -> list[Endpoint]:
        metrics = Models(answer=TEXT, needs_key=False)
        return [Endpoint("GET", "/metrics", self.get, "Metrics for Prometheus", metrics)]

    async def get(self, request: Request) -> Response:
        is_trusted = await self._is_trusted(request)
        if self._token is not None and not is_trusted:
            raise Unauthenticated("The metrics of this server need its metrics token, or an admin's key.")
        text = await exposition(self._db, await self._inventory.catalog_lately(), is_whole=is_trusted)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def _is_trusted(self, request: Request) -> bool:
        """True for the metrics token, and for admins."""
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self._token is not None and hmac.compare_digest(given, self._token.encode()):
            return True
        try:
            return (await self._auth.caller(request)).account.is_admin
        except (Unauthenticated, Forbidden):
            return False


async def exposition(db: Database, catalog: Catalog | None, *, is_whole: bool) -> bytes:
    """The metrics in Prometheus' text format. Only the whole of them names workers, packs and errors."""
    now, time_ms = await db.read(_figures), now_ms()
    parts = [_of_pools(now, time_ms), metrics.registry]
    if is_whole:
        parts.append(_of_workers(now, catalog.failures if catalog else ()))
        parts += [environment_metrics.of_rows(await db.read(environment_metrics.figures)), metrics.of_environments]
    return b"".join(map(generate_latest, parts))


def _figures(conn: Connection) -> _Figures:
    held, busy = leases.held(conn)
    return _Figures(
        queue.lengths(conn),
        queue.oldest(conn),
        held,
        workers.find(conn, now_ms() - workers.PRESENT_MS),
        busy,
        webhooks.count_waiting(conn),
    )


def _limits_of(vitals: Mapping[str, Any]) -> str:
    """The word of a worker for what limits its ComfyUI, if it is one of ours."""
    told = vitals.get("limits")
    return told if told in ("cgroups", "rlimits") else "unknown"


def _of_pools(now: _Figures, time_ms: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = functools.partial(add_gauge, registry)
    pools = {*now.queued, *now.leases, *(worker.pool for worker in now.present)}
    gauge("queue_length", "Runs that wait, by pool", ["pool"], {(pool,): now.queued.get(pool, 0) for pool in pools})
    ages = {(pool,): (time_ms - now.oldest.get(pool, time_ms)) / 1000 for pool in pools}
    gauge("queue_oldest_seconds", "How long the run that has waited longest waits, by pool", ["pool"], ages)
    gauge("leases", "Runs that workers have, by pool", ["pool"], {(pool,): now.leases.get(pool, 0) for pool in pools})
    present = Counter((worker.pool, worker.sandbox) for worker in now.present)
    gauge("workers", "Workers present, by pool and sandbox level", ["pool", "sandbox"], dict(present))
    limits = Counter((worker.pool, _limits_of(worker.vitals)) for worker in now.present)
    gauge("workers_by_limits", "Workers present, by pool and what limits ComfyUI", ["pool", "limits"], dict(limits))
    busy = Counter((worker.pool,) for worker in now.present if worker.id in now.busy)
    workers_by_pool = Counter((worker.pool,) for worker in now.present)
    shares = {pool: busy[pool] / count for pool, count in workers_by_pool.items()}
    gauge("gpu_busy_share", "Part of a pool's workers that have a run now", ["pool"], shares)
    gauge("webhooks_waiting", "Webhooks that are not delivered yet", [], {(): now.webhooks_waiting})
    return registry


def _of_workers(now: _Figures, failures: Iterable[Failure]) -> CollectorRegistry:
    registry = CollectorRegistry()
    gauge = functools.partial(add_gauge, registry)
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
    return registry
