"""The page of a run, and what can be done with a run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response

from comfyward.accounts.usage import credits_for
from comfyward.api.body import streamed
from comfyward.dispatch.checks import Checks
from comfyward.dispatch.forecast import QueueForecasts
from comfyward.dispatch.intake import Intake
from comfyward.dispatch.inventory import Inventory
from comfyward.files.objects import Objects, blob_key
from comfyward.runs.files import disposition
from comfyward.runs.run import EndReason, Run, State
from comfyward.store import accounts, runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.web.archive import Member, zip_of
from comfyward.web.failures import advices_on
from comfyward.web.graph_inputs import GraphInputs
from comfyward.web.missing_here import missing_here
from comfyward.web.page import Page
from comfyward.web.page_request import HEADERS, PageRequest
from comfyward.web.problems import PageError
from comfyward.web.run_graph import files_of, workflow_of
from comfyward.web.timeline import phases
from comfyward.web.waiting import waiting_text
from comfyward.workflows.graph import names_of, parse_graph

LACKED_SOMETHING = (EndReason.VALIDATION, EndReason.MISSING_NODE, EndReason.MISSING_MODEL)


class RunPage:
    def __init__(
        self,
        db: Database,
        inventory: Inventory,
        inputs: GraphInputs,
        forecasts: QueueForecasts,
        checks: Checks,
    ) -> None:
        self._db, self._inventory, self._inputs, self._forecasts = db, inventory, inputs, forecasts
        self._checks = checks

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/runs/{run_id}", self.show, "A run"),
            Page("GET", "/runs/{run_id}/log", self.show_log, "ComfyUI's log of a run"),
        ]

    async def show(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        values = await self._values(run)
        return request.render("run.part.html" if request.is_partial else "run.html", **values)

    async def show_log(self, request: PageRequest) -> Response:
        text = await self._db.read(runs.log_of, request.account.id, request["run_id"])
        return request.render("log.part.html", text=text)

    async def _values(self, run: Run) -> dict[str, Any]:
        db, account_id = self._db, run.account_id
        older, newer = await db.read(runs.neighbours, account_id, run)
        keys = {key.id: key for key in await db.read(accounts.keys, account_id)}
        names = await db.read(workflows.names, account_id)
        graph, catalog = (
            parse_graph(msgspec.json.decode(run.prompt)),
            await self._inventory.catalog_lately(run.environment),
        )
        gpu_ms, forecast = _gpu_ms(run), await self._forecasts.of(run)
        return {
            "run": run,
            "name": names.get(run.workflow_id, "Deleted workflow"),
            "phases": phases(run, now_ms()),
            "waiting": waiting_text(run.pool, forecast),
            "needs_worker": forecast is not None and forecast.explanation.waits_for == "pool",
            "older": older,
            "newer": newer,
            "key": keys.get(run.api_key_id or ""),
            "cost": await self._cost(run, gpu_ms),
            "gpu_ms": gpu_ms,
            "nodes": list(graph.nodes.values()),
            "inputs": await self._inputs.of(account_id, run.prompt, environment=run.environment_name),
            "titles": names_of(graph, catalog.display_names if catalog else {}),
            "advices": advices_on(run, catalog),
            **await self._missing(run, names.get(run.workflow_id, "")),
        }

    async def _missing(self, run: Run, name: str) -> dict[str, Any]:
        """The list of what a run lacked that is still missing here, if it failed for that."""
        if run.end_reason not in LACKED_SOMETHING:
            return {"missing": None}
        missing = await missing_here(self._checks, workflow_of(run, name), files_of(run), is_own=False)
        base = f"/runs/{run.id}"
        return {
            "missing": missing,
            "base": base,
            "form": f"{base}/change",
            "is_in_editor": False,
            "is_getting": False,
        } | {"errands": (), "left": ()}

    async def _cost(self, run: Run, gpu_ms: int | None) -> float:
        """The run's credits, including those of the attempt in progress."""
        charged = await self._db.read(accounts.cost_of, run.account_id, run.id) or 0.0
        return charged if run.state.is_final else charged + credits_for(gpu_ms or 0, run.credits_per_s)


class RunActions:
    def __init__(self, db: Database, intake: Intake, objects: Objects) -> None:
        self._db, self._intake, self._objects = db, intake, objects

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/runs/{run_id}/outputs.zip", self.download, "All outputs of a run"),
            Page("POST", "/runs/{run_id}/again", self.run_again, "Submit a run again"),
            Page("POST", "/runs/{run_id}/cancel", self.cancel, "Cancel a run"),
            Page("POST", "/runs/{run_id}/delete", self.delete, "Delete a run"),
        ]

    async def download(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        if not run.outputs:
            raise PageError("This run has no outputs.", status=409)
        headers = {**HEADERS, "Content-Disposition": disposition("attachment", f"{run.id}.zip")}
        return streamed(request.http, zip_of(self._outputs(run)), headers=headers, media_type="application/zip")

    async def run_again(self, request: PageRequest) -> Response:
        run_id = await self._intake.retry(request.caller, request["run_id"], request.intent)
        return request.redirect(f"/runs/{run_id}")

    async def cancel(self, request: PageRequest) -> Response:
        run = await self._intake.cancel(request.account.id, request["run_id"])
        return request.redirect(f"/runs/{run.id}")

    async def delete(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        if not run.state.is_final:
            raise PageError("This run has not finished.", hint="Cancel it first.", status=409)
        await self._db.write(runs.remove, request.account.id, run.id, now_ms())
        return request.redirect(f"/workflows/{run.workflow_id}")

    async def _outputs(self, run: Run) -> AsyncIterator[Member]:
        for output in run.outputs:
            yield output.name, await self._objects.read(blob_key(output.digest))


def _gpu_ms(run: Run) -> int | None:
    if run.state is State.RUNNING and run.started_at is not None:
        return now_ms() - run.started_at
    return run.run_time_ms
