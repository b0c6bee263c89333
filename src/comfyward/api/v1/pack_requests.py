"""Requests for packs in v1: accounts ask for what their workflows want, and withdraw that; admins accept or decline."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.times import iso
from comfyward.api.v1 import environment_answers as answers
from comfyward.api.v1.environment_shapes import check_admin
from comfyward.dispatch import wanted_packs
from comfyward.dispatch.checks import Checks
from comfyward.errors import Forbidden
from comfyward.store import pack_requests, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.pack_requests import PackRequest

BODY_LIMIT_BYTES = 1 << 16


class FindQuery(BaseModel):
    state: Literal["waiting", "accepted", "declined"] | None = Field(None, description="Default: all.")
    everybody: bool = Field(False, description="Also those of other accounts (admins).")


class NewRequest(leniency.Request):
    workflow: str = Field(max_length=60, description="A workflow of the account whose environment lacks packs.")


class Acceptance(leniency.Request):
    environment: str = Field(
        "", max_length=100, description="The environment whose next revision gets the packs. Default: a new one."
    )


class Refusal(leniency.Request):
    reply: str = Field("", max_length=500, description="The reason, for whoever asked.")


class PackRequests:
    def __init__(self, auth: Auth, db: Database, checks: Checks) -> None:
        self._auth, self._db, self._checks = auth, db, checks

    def endpoints(self) -> list[Endpoint]:
        path, shown = "/environment-requests", answers.PackRequest
        found = Models(
            query=FindQuery, answer=list[answers.PackRequest], description="The newest 100, the newest first."
        )
        asked = Models(
            body=NewRequest,
            answer=shown,
            status=201,
            description="The server finds the packs that the workflow wants. Asked again, it replaces one that waits.",
        )
        accepted, declined = Models(body=Acceptance, answer=shown), Models(body=Refusal, answer=shown)
        one = f"{path}/{{request}}"
        return [
            Endpoint("GET", path, self.find, "Requests for packs", found),
            Endpoint("POST", path, self.ask, "Ask the admins for the packs that a workflow wants", asked),
            Endpoint("DELETE", one, self.withdraw, "Withdraw a request that waits", NOTHING),
            Endpoint("POST", f"{one}/accept", self.accept, "Make a draft of a request (admins)", accepted),
            Endpoint("POST", f"{one}/decline", self.decline, "Decline a request (admins)", declined),
        ]

    async def find(self, request: Request) -> Response:
        account, query = (await self._auth.caller(request)).account, read_query(request, FindQuery)
        if query.everybody and not account.is_admin:
            raise Forbidden("Only admins see the requests of others.")
        if query.everybody:
            found = await self._db.read(pack_requests.of_all, query.state)
        else:
            found = await self._db.read(pack_requests.of_account, account.id, query.state)
        return answer(list(map(_request_json, found)))

    async def ask(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        body = await read_json(request, NewRequest, BODY_LIMIT_BYTES)
        workflow = await self._db.lookup(workflows.get, caller.account.id, body.workflow)
        wanted = wanted_packs.needed_by(await self._checks.of_workflow(workflow, asks=False))
        request_id = await self._db.write(wanted_packs.ask, workflow, wanted, now_ms())
        return await self._shown(request_id, 201)

    async def withdraw(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        await self._db.write(pack_requests.withdraw, caller.account.id, request.path_params["request"])
        return Response(status_code=204)

    async def accept(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body, request_id = await read_json(request, Acceptance, BODY_LIMIT_BYTES), request.path_params["request"]
        await self._db.write(wanted_packs.accept, request_id, body.environment, now_ms())
        return await self._shown(request_id)

    async def decline(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body, request_id = await read_json(request, Refusal, BODY_LIMIT_BYTES), request.path_params["request"]
        await self._db.write(wanted_packs.decline, request_id, body.reply, now_ms())
        return await self._shown(request_id)

    async def _shown(self, request_id: str, status: int = 200) -> Response:
        return answer(_request_json(await self._db.read(pack_requests.get, request_id)), status)


def _request_json(found: PackRequest) -> dict[str, Any]:
    packs = [
        {
            "name": pack["name"],
            "source": pack["source"],
            "from": pack["origin"],
            "confidence": pack["confidence"],
            "classes": pack["classes"],
        }
        for pack in found.packs
    ]
    return {
        "id": found.id,
        "account": found.account,
        "workflow": found.workflow_id,
        "state": found.state,
        "packs": packs,
        "comfyui": found.comfyui or None,
        "environment": found.environment or None,
        "reply": found.reply,
        "created_at": iso(found.created_at),
        "decided_at": iso(found.decided_at),
    }
