"""Environments as workers see them: their locks, the files that only this server has, and how trials went."""

from __future__ import annotations

import asyncio

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from comfyward.api.body import MessageLimit, read_body
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls, digest_in, session_of
from comfyward.dispatch.trials import Trials
from comfyward.dispatch.web_files import WebFiles
from comfyward.environments import archive
from comfyward.environments.trees import Trees
from comfyward.environments.web_files import MAX_BYTES
from comfyward.errors import Forbidden, NotFound
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.store import environments, workers
from comfyward.store.db import Database
from comfyward.store.workers import Holder
from comfyward.worker.environment_reports import Trial

TRIAL = MessageLimit(1 << 20, 50_000)
ZIP = "application/zip"
ARCHIVE = "tree.zip"


class Environments:
    """`trees` are those of this server's host."""

    def __init__(self, db: Database, calls: Calls, trials: Trials, web_files: WebFiles, trees: Trees) -> None:
        self._db, self._calls, self._trials, self._trees = db, calls, trials, trees
        self._web_files = web_files
        self._packing = asyncio.Semaphore(1)

    def endpoints(self) -> list[Endpoint]:
        one, tried = "/environments/{digest}", Models(body=Trial, status=204)
        sent = Models(body=OCTET_STREAM, status=204)
        return [
            Endpoint("GET", "/environments/trees/{digest}", self.tree, "Fetch a pack's files", Models(answer=ZIP)),
            Endpoint("GET", one, self.lock, "Fetch a lock", Models(answer="application/json")),
            Endpoint("PUT", f"{one}/trial", self.tried, "Report on a trial", tried),
            Endpoint("PUT", f"{one}/web/{{archive}}", self.put_web_files, "Send what packs bring for the editor", sent),
        ]

    async def lock(self, request: Request) -> Response:
        await self._check_session(request)
        text = await self._db.read(environments.lock_text, digest_in(request))
        if text is None:
            raise NotFound("No revision has this digest.")
        return Response(text, media_type="application/json")

    async def tree(self, request: Request) -> Response:
        """A zip archive of a folder that was added on this server's host."""
        await self._check_session(request)
        digest = digest_in(request)
        async with self._packing:
            packed = await asyncio.to_thread(_packed, self._trees, digest)
        if packed is None:
            hint = "Add its folder or archive again on the server's host."
            raise NotFound("The files of this digest are not on the server's host.", hint=hint)
        return FileResponse(packed.path / ARCHIVE, media_type=ZIP, background=BackgroundTask(packed.close))

    async def tried(self, request: Request) -> Response:
        told, token = await self._calls.read(request, Trial, TRIAL), await self._calls.token(request)
        await self._trials.tried(token, session_of(request), digest_in(request), told)
        return Response(status_code=204)

    async def put_web_files(self, request: Request) -> Response:
        token, session, environment = await self._calls.token(request), session_of(request), digest_in(request)
        await self._web_files.check_sender(token, session, environment)
        archive = await read_body(request, MAX_BYTES)
        await self._web_files.put(token, session, environment, request.path_params["archive"], archive)
        return Response(status_code=204)

    async def _check_session(self, request: Request) -> None:
        """Raises Unauthenticated, or Forbidden for a call without a worker."""
        token = await self._calls.token(request)
        if not await self._db.read(workers.of_session, Holder(token.hash, session_of(request))):
            raise Forbidden(f"No worker has joined with the token '{token.name}' and this secret.")


def _packed(trees: Trees, digest: str) -> TemporaryFolder | None:
    """A folder with the archive of a tree; None if the tree is not here."""
    if not trees.has(digest):
        return None
    folder = TemporaryFolder()
    try:
        archive.pack(trees.path(digest), folder.path / ARCHIVE)
    except BaseException:
        folder.close()
        raise
    return folder
