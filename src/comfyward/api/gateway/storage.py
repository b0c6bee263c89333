"""Bytes that workers bring: sent to the object store by the worker itself where that is possible, else to us."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.gateway.calls import digest_in
from comfyward.dispatch.blobs import Blobs
from comfyward.files.objects import Objects, blob_key, response_headers
from comfyward.worker.protocol import OutputPlace


class Storage:
    """`limit_bytes` is the largest file that a worker may store."""

    def __init__(self, blobs: Blobs, objects: Objects, limit_bytes: int) -> None:
        self._blobs, self._objects, self.limit_bytes = blobs, objects, limit_bytes

    async def place(self, digest: str, name: str, size: int) -> Response:
        """Tells a worker where to send the bytes of a digest, unless they are stored already."""
        if await self._blobs.touch(digest):
            return answer(OutputPlace(is_there=True))
        url = await self._objects.put_url(blob_key(digest), size)
        return answer(OutputPlace(url=url, headers=response_headers(name) if url else {}))

    async def store(self, request: Request) -> Response:
        """Stores the bytes of the body. Raises TooLarge, DigestMismatch, InvalidRequest."""
        digest, name = digest_in(request), request.query_params.get("name", "")
        await self._blobs.put_stream(request.stream(), limit=self.limit_bytes, digest=digest, name=name)
        return Response(status_code=204)
