"""Models that workers fetched from URLs and store for other hosts: offered, sent, registered."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls
from comfyward.api.gateway.storage import Storage
from comfyward.dispatch.mirrors import Mirrors
from comfyward.errors import InvalidRequest
from comfyward.files.objects import Blob
from comfyward.ids import is_digest
from comfyward.worker.protocol import MirrorOffer, OutputPlace


class ModelMirrors:
    def __init__(self, calls: Calls, storage: Storage, mirrors: Mirrors) -> None:
        self._calls, self._storage, self._mirrors = calls, storage, mirrors

    def endpoints(self) -> list[Endpoint]:
        offer, stored = Models(body=MirrorOffer, answer=OutputPlace), Models(body=MirrorOffer, status=204)
        return [
            Endpoint("POST", "/mirrors/{key}", self.offer, "Ask where to send a model", offer),
            Endpoint("POST", "/mirrors/{key}/stored", self.stored, "Register a model", stored),
            Endpoint("PUT", "/mirrors/{key}/{digest}", self.put, "Send a model", Models(body=OCTET_STREAM, status=204)),
        ]

    async def offer(self, request: Request) -> Response:
        offer = await self._calls.read(request, MirrorOffer)
        self._check_is_on()
        if not is_digest(offer.digest) or offer.size > self._storage.limit_bytes:
            raise InvalidRequest("The model has no valid digest, or is too large to be stored.")
        return await self._storage.place(offer.digest, offer.name, offer.size)

    async def stored(self, request: Request) -> Response:
        offer = await self._calls.read(request, MirrorOffer)
        blob = Blob(offer.digest, offer.sha256, offer.size, offer.name)
        await self._mirrors.register(request.path_params["key"], blob)
        return Response(status_code=204)

    async def put(self, request: Request) -> Response:
        """For a model that is too large for one PUT to the object store."""
        await self._calls.token(request)
        self._check_is_on()
        return await self._storage.store(request)

    def _check_is_on(self) -> None:
        if not self._mirrors.is_on:
            raise InvalidRequest("This server does not store models that workers fetch.")
