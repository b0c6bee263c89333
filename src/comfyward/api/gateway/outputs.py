"""Outputs of leased runs: offered, sent, registered."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward import wording
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls, digest_in
from comfyward.api.gateway.storage import Storage
from comfyward.errors import TooLarge
from comfyward.files.objects import Blob
from comfyward.worker.protocol import OutputOffer, OutputPlace


class Outputs:
    def __init__(self, calls: Calls, storage: Storage) -> None:
        self._calls, self._storage = calls, storage

    def endpoints(self) -> list[Endpoint]:
        path, offer, sent = "/outputs/{digest}", Models(body=OutputOffer, answer=OutputPlace), OCTET_STREAM
        return [
            Endpoint("POST", path, self.offer, "Ask where to send an output", offer),
            Endpoint("PUT", path, self.put, "Send an output", Models(body=sent, status=204)),
            Endpoint("POST", f"{path}/stored", self.stored, "Register an output", Models(body=OutputOffer, status=204)),
        ]

    async def offer(self, request: Request) -> Response:
        offer, blob = await self._offered(request)
        if blob.size > self._storage.limit_bytes:
            limit = self._storage.limit_bytes
            raise TooLarge(f"The file is larger than {wording.size(limit)}.", limit=limit)
        return await self._storage.place(request, blob, asks_again=offer.asks_again)

    async def put(self, request: Request) -> Response:
        await self._calls.leased_run(request)
        return await self._storage.store(request)

    async def stored(self, request: Request) -> Response:
        await self._storage.register(request, (await self._offered(request))[1])
        return Response(status_code=204)

    async def _offered(self, request: Request) -> tuple[OutputOffer, Blob]:
        offer = await self._calls.read(request, OutputOffer)
        await self._calls.leased_run(request)
        return offer, Blob(digest_in(request), offer.sha256, offer.size, offer.name)
