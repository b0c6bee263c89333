"""Lockings in v1, for admins: the server makes the next revision of an environment, and says how far it is."""

from __future__ import annotations

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api import leniency
from comfyward.api.auth import Auth
from comfyward.api.body import answer, read_json
from comfyward.api.endpoint import NOTHING, Endpoint, Models
from comfyward.api.v1 import environment_answers as answers
from comfyward.api.v1.environment_shapes import check_admin, environment_json, locking_json
from comfyward.dispatch.lockings import Lockings
from comfyward.errors import NotFound
from comfyward.store import environments, lockings
from comfyward.store.db import Database, now_ms
from comfyward.store.lockings import ACCEPT, LOCK, RELOCK, UPDATE, Wish

BODY_LIMIT_BYTES = 1 << 16


class LockRequest(leniency.Request):
    update: bool = Field(False, description="Look for newer packages and commits although nothing was changed.")


class UpdateRequest(leniency.Request):
    comfyui: str = Field("", max_length=40, description="`newest`, or the version of a release. Empty: it stays.")
    yes: bool = Field(False, description="Make the revision at once.")


class EnvironmentLockings:
    def __init__(self, auth: Auth, db: Database, lockings: Lockings) -> None:
        self._auth, self._db, self._lockings = auth, db, lockings

    def endpoints(self) -> list[Endpoint]:
        path = "/environments/{name}/lock"
        begun = Models(
            body=LockRequest,
            answer=answers.Locking,
            status=202,
            description=(
                "Takes seconds to minutes: GET says how far it is. Asked again while it is unfinished, it is the same "
                "one; one at a time for each environment."
            ),
        )
        update = "/environments/{name}/update"
        looked = Models(
            body=UpdateRequest,
            answer=answers.Locking,
            status=202,
            description="A locking, which ends in the state `proposed` with its `changes`: nothing is changed before.",
        )
        accepted = Models(answer=answers.Environment)
        return [
            Endpoint("POST", update, self.update, "Look for newer versions of everything (admins)", looked),
            Endpoint("POST", f"{update}/accept", self.accept, "Make the revision that an update proposes", accepted),
            Endpoint("POST", path, self.begin, "Make the next revision of an environment (admins)", begun),
            Endpoint(
                "GET", path, self.get, "The last locking of an environment (admins)", Models(answer=answers.Locking)
            ),
            Endpoint("DELETE", path, self.cancel, "Cancel a locking that is unfinished (admins)", NOTHING),
        ]

    async def begin(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, LockRequest, BODY_LIMIT_BYTES)
        wish = Wish(RELOCK if body.update else LOCK)
        return answer(locking_json(await self._lockings.begin(request.path_params["name"], wish)), 202)

    async def update(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        body = await read_json(request, UpdateRequest, BODY_LIMIT_BYTES)
        wish = Wish(UPDATE, body.comfyui, ACCEPT if body.yes else "")
        return answer(locking_json(await self._lockings.begin(request.path_params["name"], wish)), 202)

    async def accept(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        name = request.path_params["name"]
        await self._lockings.accept(name)
        return answer(await self._db.read(environment_json, name, now_ms()))

    async def get(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        name = request.path_params["name"]
        latest = await self._db.read(lockings.latest, name)
        if latest is None:
            await self._db.read(environments.get, name)
            raise NotFound(f"No server has locked '{name}' yet.")
        return answer(locking_json(latest))

    async def cancel(self, request: Request) -> Response:
        await check_admin(self._auth, request)
        await self._lockings.cancel(request.path_params["name"])
        return Response(status_code=204)
