"""Learnings in v1, for admins: which files packs fetch, found out by a trial that lets them."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.times import iso
from comfyward.api.v1 import environment_answers as answers
from comfyward.api.v1.environment_shapes import check_admin, environment_json
from comfyward.dispatch import learnings as learning
from comfyward.dispatch.learnings import Learnings
from comfyward.environments.reference import Reference
from comfyward.store import learnings
from comfyward.store.db import Database, now_ms
from comfyward.store.learnings import Learning

BODY_LIMIT_BYTES = 2 << 20


class LearnRequest(leniency.Request):
    revision: int | None = Field(None, ge=1, lt=1 << 31, description="Default: the newest one.")
    hosts: list[str] = Field(
        [], max_length=100, description="Hosts that packs may reach for once, beside those of the usual model sites."
    )
    graph: dict[str, Any] | None = Field(
        None,
        description="A workflow to be executed, in either of ComfyUI's formats: some nodes fetch only then.",
    )


class AcceptRequest(leniency.Request):
    paths: list[str] | None = Field(
        None, max_length=500, description="Files that were found. Default: all whose address is known."
    )


class EnvironmentLearnings:
    def __init__(self, auth: Auth, db: Database, learnings: Learnings) -> None:
        self._auth, self._db, self._learnings = auth, db, learnings

    def endpoints(self) -> list[Endpoint]:
        path, shown = "/environments/{name}/learn", answers.Learning
        begun = Models(
            body=LearnRequest,
            answer=shown,
            status=202,
            description="A worker tries the revision with these hosts open, and GET says what packs have fetched.",
        )
        accepted = Models(body=AcceptRequest, answer=answers.Environment)
        return [
            Endpoint("POST", path, self.begin, "Learn which files the packs of an environment fetch (admins)", begun),
            Endpoint("GET", path, self.get, "The last learning of an environment (admins)", Models(answer=shown)),
            Endpoint("DELETE", path, self.cancel, "Cancel a learning that is unfinished (admins)", NOTHING),
            Endpoint(
                "POST", f"{path}/accept", self.accept, "Take files that were found into the spec (admins)", accepted
            ),
        ]

    async def begin(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, LearnRequest, BODY_LIMIT_BYTES)
        reference = Reference(request.path_params["name"], body.revision)
        return answer(learning_json(await self._learnings.begin(reference, body.hosts, body.graph)), 202)

    async def get(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        return answer(learning_json(await self._db.read(learnings.latest, request.path_params["name"])))

    async def cancel(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        await self._learnings.cancel(request.path_params["name"])
        return Response(status_code=204)

    async def accept(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, AcceptRequest, BODY_LIMIT_BYTES)
        name = request.path_params["name"]
        await self._db.write(learning.accept, name, body.paths, now_ms())
        return answer(await self._db.read(environment_json, name, now_ms()))


def learning_json(found: Learning) -> dict[str, Any]:
    """A learning with its finds."""
    return {**learning.shown(found), "created_at": iso(found.created_at), "finished_at": iso(found.finished_at)}
