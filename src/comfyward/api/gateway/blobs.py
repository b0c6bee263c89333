"""Stored files that a leased run needs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from comfyward.api.contents import OCTET_STREAM, Content, Contents
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls
from comfyward.dispatch.mirrors import Mirrors
from comfyward.errors import NotFound
from comfyward.files.objects import Objects, blob_key
from comfyward.runs.files import Stored, source_from_row
from comfyward.runs.run import Run


class RunFiles:
    def __init__(self, calls: Calls, mirrors: Mirrors, objects: Objects, contents: Contents) -> None:
        self._calls, self._mirrors, self._objects, self._contents = calls, mirrors, objects, contents

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("GET", "/blobs/{digest}", self.get, "Fetch a run's file", Models(answer=OCTET_STREAM))]

    async def get(self, request: Request) -> Response:
        """The bytes, or a redirect to the object store's own URL of them."""
        digest = request.path_params["digest"]
        size = await self._size_of(await self._calls.leased_run(request), digest)
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
