"""Prompts of ComfyUI's API: submit, count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.leniency import is_true
from comfyward.api.native.errors import NoPrompt
from comfyward.api.native.models import PromptAnswer, PromptRequest, Remaining
from comfyward.api.native.requests import MAX_CLIENT_ID, list_of, read_object
from comfyward.api.native.scope import Scope, Scopes
from comfyward.api.native.shapes import number_of
from comfyward.dispatch.intake import Intake, Submission
from comfyward.errors import InvalidRequest
from comfyward.runs.run import Api
from comfyward.store import runs
from comfyward.store.db import Database
from comfyward.workflows.graph import only_for

MAX_PROMPT_ID = 100
IN_FRONT = 1


class Prompts:
    def __init__(self, db: Database, scopes: Scopes, intake: Intake, body_limit_bytes: int) -> None:
        self._db, self._scopes, self._intake, self._body_limit_bytes = db, scopes, intake, body_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        submitted = Models(body=PromptRequest, answer=PromptAnswer)
        return [
            Endpoint("GET", "/prompt", self.remaining, "The number of unfinished prompts", Models(answer=Remaining)),
            Endpoint("POST", "/prompt", self.submit, "Submit a graph", submitted),
        ]

    async def remaining(self, request: Request) -> Response:
        count = await count_unfinished(self._db, await self._scopes.of(request))
        return answer({"exec_info": {"queue_remaining": count}})

    async def submit(self, request: Request) -> Response:
        scope = await self._scopes.of(request)
        body = await read_object(request, self._body_limit_bytes)
        if "prompt" not in body:
            raise NoPrompt("No prompt provided")
        submitted = await self._intake.submit(scope.caller, _submission(scope, body))
        return answer({"prompt_id": submitted.prompt_id, "number": number_of(submitted), "node_errors": {}})


async def count_unfinished(db: Database, scope: Scope) -> int:
    """The number of runs that are queued, assigned or running."""
    return await db.lookup(runs.count_unfinished, scope.account_id, scope.workflow_id)


def _submission(scope: Scope, body: Mapping[str, Any]) -> Submission:
    prompt, extra_data, targets = body["prompt"], body.get("extra_data"), body.get("partial_execution_targets")
    if targets not in (None, "") and isinstance(prompt, dict):
        prompt = only_for(prompt, [str(target) for target in list_of(targets)])
    in_front = is_true(body.get("front")) or _is_negative(body.get("number"))
    return Submission(
        workflow_id=scope.target_workflow_id,
        prompt=prompt,
        extra_data=extra_data if isinstance(extra_data, dict) and extra_data else None,
        priority=IN_FRONT if in_front else 0,
        submitted_via=Api.NATIVE,
        client_id=_text(body, "client_id", MAX_CLIENT_ID),
        prompt_id=_text(body, "prompt_id", MAX_PROMPT_ID),
    )


def _text(body: Mapping[str, Any], name: str, longest: int) -> str | None:
    value = body.get(name)
    if value is None or value == "":
        return None
    text = str(value)
    if not isinstance(value, str | int) or len(text) > longest or "\0" in text:
        raise InvalidRequest(f"'{name}' must be a string of at most {longest} characters.")
    return text


def _is_negative(number: Any) -> bool:
    try:
        return float(number) < 0
    except (TypeError, ValueError):
        return False
