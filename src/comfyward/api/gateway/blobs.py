"""Stored files that workers need: those of a leased run, and the models that are pinned to a worker."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.contents import OCTET_STREAM, Content, Contents
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls
from comfyward.dispatch.mirrors import Mirrors
from comfyward.dispatch.model_pins import PinnedModels
from comfyward.errors import NotFound
from comfyward.files.objects import Objects, blob_key
from comfyward.runs.files import Stored, source_from_row
from comfyward.runs.run import Run


class StoredFiles:
    def __init__(
        self, calls: Calls, mirrors: Mirrors, pinned: PinnedModels, objects: Objects, contents: Contents
    ) -> None:
        self._calls, self._mirrors, self._pinned = calls, mirrors, pinned
        self._objects, self._contents = objects, contents

    def endpoints(self) -> list[Endpoint]:
        pinned, octets = "/pinned/{worker_id}/{incarnation}/{digest}", Models(answer=OCTET_STREAM)
        return [
            Endpoint("GET", "/blobs/{digest}", self.of_run, "Fetch a run's file", octets),
            Endpoint("GET", pinned, self.of_pin, "Fetch a model that is pinned to this worker", octets),
        ]

    async def of_run(self, request: Request) -> Response:
        digest = request.path_params["digest"]
        return await self._answer(request, digest, await self._size_of(await self._calls.leased_run(request), digest))

    async def of_pin(self, request: Request) -> Response:
        """Only the worker to which a pin was given may read its model, as long as it is pinned."""
        worker_id, incarnation, digest = (request.path_params[name] for name in ("worker_id", "incarnation", "digest"))
        await self._calls.worker(request, worker_id, incarnation)
        return await self._answer(request, digest, await self._pinned.size(worker_id, digest))

    async def _answer(self, request: Request, digest: str, size: int) -> Response:
        """The bytes, or a redirect to the object store's own URL of them."""
        if url := await self._objects.get_url(blob_key(digest)):
            return RedirectResponse(url, 307)
        return await self._contents.serve(request, Content(digest, size, OCTET_STREAM, digest))

    async def _size_of(self, run: Run, digest: str) -> int:
        """The size of a blob that is a file of the run, or that mirrors one of its models. Raises NotFound."""
        for source in map(source_from_row, run.files.values()):
            if isinstance(source, Stored) and source.digest == digest:
                return source.size
        for mirror in (await self._mirrors.of(run)).values():
            if mirror is not None and mirror.digest == digest:
                return mirror.size
        raise NotFound("The run does not use this blob.")
