"""Checks in v1: what a workflow lacks, in the editor's form or the API's, and getting it."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.limits import RequestLimits
from comfyward.api.v1 import check_answers as answers
from comfyward.dispatch.acquisition import Acquisition, GetOptions, Got
from comfyward.dispatch.checks import Checks
from comfyward.dispatch.errands import Errand, Errands
from comfyward.environments.reference import Reference
from comfyward.workflows.check import Check, check_json, input_json
from comfyward.workflows.posted import Posted


class CheckRequest(leniency.Request):
    """A workflow in the editor's format, the API's, or both; each field takes either."""

    workflow: dict[str, Any] | None = None
    prompt: dict[str, Any] | None = None
    environment: str | None = Field(
        None, max_length=120, description="The one to look at. Default: the one that lacks the least."
    )


class GetRequest(CheckRequest):
    name: str | None = Field(None, max_length=200, description="After which a new environment is named.")
    urls: dict[str, str] | None = Field(None, description="Addresses of models that the file does not tell, by path.")
    promote: bool = Field(
        False, description="The new revision of `environment` becomes current; else it is only tried."
    )


class WorkflowChecks:
    def __init__(
        self, auth: Auth, checks: Checks, acquisition: Acquisition, errands: Errands, limits: RequestLimits
    ) -> None:
        self._auth, self._checks, self._acquisition, self._errands, self._limits = (
            auth,
            checks,
            acquisition,
            errands,
            limits,
        )

    def endpoints(self) -> list[Endpoint]:
        checked = Models(body=CheckRequest, answer=answers.Check, description="Nothing is changed.")
        got = Models(
            body=GetRequest,
            answer=answers.Got,
            status=202,
            description=(
                "Models are imported. Packs become a revision of `environment` if one is named that is not `default`, "
                "else of a new environment; for members, a request to an admin. What is under way is not begun twice."
            ),
        )
        one = "/workflows/get/{job_id}"
        return [
            Endpoint("POST", "/workflows/check", self.check, "Say what a workflow's file lacks here", checked),
            Endpoint("POST", "/workflows/get", self.get, "Get what a workflow's file lacks here", got),
            Endpoint("GET", one, self.job, "How far something is that is being got", Models(answer=answers.Job)),
            Endpoint("DELETE", one, self.cancel, "Stop getting something", NOTHING),
        ]

    async def check(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        body = await read_json(request, CheckRequest, self._limits.body)
        return answer(check_json(await self._checked(account, body)))

    async def get(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        body = await read_json(request, GetRequest, self._limits.body)
        into = Reference.name_in(body.environment)
        options = GetOptions(body.name or "Workflow", into, body.urls or {}, body.promote)
        return answer(_got_json(await self._acquisition.get(account, await self._checked(account, body), options)), 202)

    async def job(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        return answer(errand_json(await self._errands.get(account, request.path_params["job_id"])))

    async def cancel(self, request: Request) -> Response:
        account = (await self._auth.caller(request)).account
        await self._errands.cancel(account, request.path_params["job_id"])
        return Response(status_code=204)

    async def _checked(self, account: Account, body: CheckRequest) -> Check:
        """Raises InvalidRequest, InvalidGraph, InvalidEnvironment, TooLarge."""
        posted = Posted.of(body.workflow, body.prompt)
        size = sum(self._limits.graph.size_of(each) for each in (posted.editor, posted.prompt) if each is not None)
        return await self._checks.check(account.id, posted, size, body.environment or "")


def errand_json(errand: Errand) -> dict[str, Any]:
    return {**vars(errand), "kind": str(errand.kind), "state": str(errand.state)}


def _got_json(got: Got) -> dict[str, Any]:
    return {
        "check": check_json(got.check),
        "jobs": [errand_json(each) for each in got.errands],
        "uploads": [input_json(each) for each in got.uploads],
        "left": [vars(each) for each in got.left],
    }
