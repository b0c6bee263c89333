"""The forecast of a queued run in v1."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.times import iso
from comfyward.api.v1 import answers
from comfyward.api.v1.runs import requested_run
from comfyward.dispatch.forecast import QueueForecast, QueueForecasts
from comfyward.runs.run import Run
from comfyward.store.db import Database, now_ms


class Placement:
    def __init__(self, auth: Auth, db: Database, forecasts: QueueForecasts) -> None:
        self._auth, self._db, self._forecasts = auth, db, forecasts

    def endpoints(self) -> list[Endpoint]:
        placement = Models(
            answer=answers.Placement,
            description="The place of a queued run, what it waits for, and when it is expected to start.",
        )
        return [
            Endpoint("GET", "/runs/{run_id}/placement", self.get, "Why a run waits", placement),
            Endpoint("GET", "/workflows/{workflow_id}/runs/{run_id}/placement", self.get, "Why a run waits", placement),
        ]

    async def get(self, request: Request) -> Response:
        run = await requested_run(request, self._auth, self._db)
        return answer(_shape(run, await self._forecasts.of(run)))


def _shape(run: Run, forecast: QueueForecast | None) -> dict[str, Any]:
    placed = {"id": run.id, "state": run.state, "pool": run.pool, "worker": run.worker_id, "attempt": run.attempt}
    if forecast is None:
        return {**placed, "place": None, "waits_for": None, "reason": None, "expected_start_at": None}
    found = forecast.explanation
    expected = None if found.expected_in_ms is None else iso(now_ms() + found.expected_in_ms)
    return {
        **placed,
        "place": forecast.place,
        "waits_for": found.waits_for,
        "reason": found.reason,
        "expected_start_at": expected,
    }
