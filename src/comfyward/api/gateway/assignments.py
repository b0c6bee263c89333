"""Assignments of runs: a worker asks for one, and reports what happens to it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import REPORTS, Calls, while_connected
from comfyward.dispatch.assigner import Assigner
from comfyward.dispatch.file_orders import FileOrders
from comfyward.dispatch.recorder import Recorder
from comfyward.dispatch.secrets import Secrets
from comfyward.runs.run import Api, Run
from comfyward.worker.protocol import Ask, Assignment, FileOrder, Reports


class Assignments:
    """`isolated` gives each account a ComfyUI of its own."""

    def __init__(
        self,
        calls: Calls,
        assigner: Assigner,
        recorder: Recorder,
        secrets: Secrets,
        orders: FileOrders,
        *,
        isolated: bool,
    ) -> None:
        self._calls, self._assigner, self._recorder = calls, assigner, recorder
        self._secrets, self._orders, self._isolated = secrets, orders, isolated

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("POST", "/lease", self.lease, "Ask for a run", Models(body=Ask, answer=Assignment)),
            Endpoint("POST", "/reports", self.report, "Report on runs", Models(body=Reports, status=204)),
        ]

    async def lease(self, request: Request) -> Response:
        """Held open until there is a run; 204 when there is none in the time that the worker waits."""
        ask = await self._calls.read(request, Ask)
        worker = await self._calls.worker(request, ask.worker_id, ask.incarnation)
        run = await while_connected(request, self._assigner.ask(worker, ask))
        if run is None:
            return Response(status_code=204)
        account = run.account_id if self._isolated else ""
        return answer(_assignment(run, account, await self._secrets.of(run), await self._orders.of(run)))

    async def report(self, request: Request) -> Response:
        reports = await self._calls.read(request, Reports, REPORTS)
        await self._calls.check_lease(request, reports.lease)
        await self._recorder.record(reports)
        return Response(status_code=204)


def _assignment(run: Run, account: str, secrets: dict[str, Any], files: list[FileOrder]) -> Assignment:
    assert run.lease is not None
    extra_data = run.extra_data.encode() if run.extra_data else b"null"
    if secrets:
        extra_data = msgspec.json.encode({**(msgspec.json.decode(extra_data) or {}), **secrets})
    return Assignment(
        run_id=run.id,
        lease=run.lease,
        attempt=run.attempt,
        prompt=msgspec.Raw(run.prompt.encode()),
        extra_data=msgspec.Raw(extra_data),
        files=files,
        models=run.models,
        timeout_s=run.timeout_s,
        previews=run.submitted_via is Api.NATIVE,
        account=account,
        environment=run.environment,
    )
