"""Environments as workers see them: their locks, the files that only this server has, and how trials went."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from comfyward.api.body import MessageLimit, read_body
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls, digest_in, session_of
from comfyward.dispatch.learnings import Learnings
from comfyward.dispatch.shared_trees import SharedTrees
from comfyward.dispatch.trials import Trials
from comfyward.dispatch.web_files import WebFiles
from comfyward.environments.packed import SHARE, Packed, Reader
from comfyward.environments.web_files import MAX_BYTES
from comfyward.errors import Forbidden, NotFound
from comfyward.store import environments, workers
from comfyward.store.db import Database
from comfyward.store.tokens import WorkerToken
from comfyward.store.workers import Holder
from comfyward.worker.environment_reports import Trial
from comfyward.worker.learned import Learned, LearningOrder

TRIAL = MessageLimit(1 << 20, 50_000)
ZIP = "application/zip"
LONGEST_S = 3600.0


class Environments:
    def __init__(
        self, db: Database, calls: Calls, trials: Trials, learnings: Learnings, web_files: WebFiles, trees: SharedTrees
    ) -> None:
        self._db, self._calls, self._trials, self._learnings = db, calls, trials, learnings
        self._web_files, self._trees = web_files, trees

    def endpoints(self) -> list[Endpoint]:
        one, tried = "/environments/{digest}", Models(body=Trial, status=204)
        sent = Models(body=OCTET_STREAM, status=204)
        return [
            Endpoint("GET", "/environments/trees/{digest}", self.tree, "Fetch a pack's files", Models(answer=ZIP)),
            Endpoint("GET", one, self.lock, "Fetch a lock", Models(answer="application/json")),
            Endpoint("PUT", f"{one}/trial", self.tried, "Report on a trial", tried),
            Endpoint("POST", f"{one}/learning", self.claim, "Take a trial that learns", Models(answer=LearningOrder)),
            Endpoint(
                "PUT", f"{one}/learned", self.learned, "Report what was learned", Models(body=Learned, status=204)
            ),
            Endpoint("PUT", f"{one}/web/{{archive}}", self.put_web_files, "Send what packs bring for the editor", sent),
        ]

    async def lock(self, request: Request) -> Response:
        await self._check_session(request)
        text = await self._db.read(environments.lock_text, digest_in(request))
        if text is None:
            raise NotFound("No revision has this digest.")
        return Response(text, media_type="application/json")

    async def tree(self, request: Request) -> Response:
        """A zip archive of a folder that was added on this server's host, or uploaded to any server."""
        token = await self._check_session(request)
        reader = Reader(token.hash) if token.is_operators else Reader(token.hash, SHARE)
        packed = await self._trees.take(digest_in(request), reader)
        if packed is None:
            hint = "Add its folder or archive again, by upload if there are several servers."
            raise NotFound("The files of this digest are not on the server's host.", hint=hint)
        return Sent(self._trees, packed, reader)

    async def tried(self, request: Request) -> Response:
        told, token = await self._calls.read(request, Trial, TRIAL), await self._calls.token(request)
        await self._trials.tried(token, session_of(request), digest_in(request), told)
        return Response(status_code=204)

    async def claim(self, request: Request) -> Response:
        token = await self._calls.token(request)
        order = await self._learnings.claimed(token, session_of(request), digest_in(request))
        return Response(msgspec.json.encode(order), media_type="application/json")

    async def learned(self, request: Request) -> Response:
        told, token = await self._calls.read(request, Learned, TRIAL), await self._calls.token(request)
        await self._learnings.learned(token, session_of(request), told)
        return Response(status_code=204)

    async def put_web_files(self, request: Request) -> Response:
        token, session, environment = await self._calls.token(request), session_of(request), digest_in(request)
        await self._web_files.check_sender(token, session, environment)
        archive = await read_body(request, MAX_BYTES)
        await self._web_files.put(token, session, environment, request.path_params["archive"], archive)
        return Response(status_code=204)

    async def _check_session(self, request: Request) -> WorkerToken:
        """The token of a worker. Raises Unauthenticated, or Forbidden for a call without a worker."""
        token = await self._calls.token(request)
        if not await self._db.read(workers.of_session, Holder(token.hash, session_of(request))):
            raise Forbidden(f"No worker has joined with the token '{token.name}' and this secret.")
        return token


class Sent(FileResponse):
    """An archive as it is sent: for an hour at most, and given back however that ends."""

    def __init__(self, trees: SharedTrees, packed: Packed, reader: Reader) -> None:
        super().__init__(packed.path, media_type=ZIP)
        self._trees, self._packed, self._reader = trees, packed, reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(LONGEST_S):
                await super().__call__(scope, receive, send)
        finally:
            self._trees.leave(self._packed, self._reader)
