"""Bytes that workers bring: sent to the object store by the worker itself where that is possible, else to us."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.gateway.calls import Calls, digest_in, session_of
from comfyward.dispatch.arrivals import Arrivals
from comfyward.dispatch.blobs import Blobs
from comfyward.files.objects import Blob, response_headers
from comfyward.store.tokens import WorkerToken
from comfyward.worker.protocol import OutputPlace


class Storage:
    """`limit_bytes` is the largest file that a worker may store."""

    def __init__(self, calls: Calls, blobs: Blobs, arrivals: Arrivals, limit_bytes: int) -> None:
        self._calls, self._blobs, self._arrivals, self.limit_bytes = calls, blobs, arrivals, limit_bytes

    async def place(self, request: Request, blob: Blob, *, asks_again: bool, permit: str = "") -> Response:
        """Tells a worker where to send bytes, unless they are stored already.

        A machine that is not the operator's own sends them to us: with a signed URL it could fill the store. So does a
        worker that would not ask again (`asks_again`) where a server of another version does not find them.
        """
        if await self._blobs.touch(blob.digest):
            return answer(OutputPlace(is_there=True, permit=permit))
        token, url = await self._calls.token(request), None
        if token.is_operators and asks_again:
            url = await self._arrivals.url(_sender(request, token), blob)
        return answer(OutputPlace(url=url, headers=response_headers(blob.name) if url else {}, permit=permit))

    async def register(self, request: Request, blob: Blob) -> None:
        """Registers what the worker has sent. Raises InvalidRequest if it is not there, DigestMismatch."""
        await self._arrivals.register(_sender(request, await self._calls.token(request)), blob)

    async def store(self, request: Request) -> Response:
        """Stores the bytes of the body. Raises TooLarge, DigestMismatch, InvalidRequest."""
        digest, name = digest_in(request), request.query_params.get("name", "")
        await self._blobs.put_stream(request.stream(), limit=self.limit_bytes, digest=digest, name=name)
        return Response(status_code=204)


def _sender(request: Request, token: WorkerToken) -> str:
    return f"{token.hash} {session_of(request)}"
