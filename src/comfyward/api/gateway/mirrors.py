"""Models that workers fetched from URLs and store for other hosts: offered under a lease, sent, registered.

An upload may outlast the run that caused it. So an offer under its lease is answered with a permit, which is good for
this session, source and content alone, for as long as an upload may take.
"""

from __future__ import annotations

import hmac
import time

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.contents import OCTET_STREAM
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.gateway.calls import Calls, digest_in, session_of
from comfyward.api.gateway.storage import Storage
from comfyward.dispatch.mirrors import Mirrors
from comfyward.errors import Forbidden, InvalidRequest
from comfyward.files.objects import Blob
from comfyward.ids import is_digest
from comfyward.store.tokens import WorkerToken
from comfyward.worker.protocol import MIRROR_HEADER, MirrorOffer, OutputPlace

PERMIT_LASTS_S = 2 * 3600


class ModelMirrors:
    def __init__(self, auth: Auth, calls: Calls, storage: Storage, mirrors: Mirrors) -> None:
        self._auth, self._calls, self._storage, self._mirrors = auth, calls, storage, mirrors

    def endpoints(self) -> list[Endpoint]:
        offer, stored = Models(body=MirrorOffer, answer=OutputPlace), Models(body=MirrorOffer, status=204)
        return [
            Endpoint("POST", "/mirrors/{key}", self.offer, "Ask where to send a model", offer),
            Endpoint("POST", "/mirrors/{key}/stored", self.stored, "Register a model", stored),
            Endpoint("PUT", "/mirrors/{key}/{digest}", self.put, "Send a model", Models(body=OCTET_STREAM, status=204)),
        ]

    async def offer(self, request: Request) -> Response:
        (offer, blob), run = await self._offered(request), await self._calls.leased_run(request)
        self._check_is_on()
        if blob.size > self._storage.limit_bytes:
            raise InvalidRequest("The model is too large to be stored.")
        wanted = await self._mirrors.wanted(run, request.path_params["key"], blob) or ""
        token = await self._calls.token(request)
        permit = self._permit(request, token, blob.digest, f"{int(time.time()) + PERMIT_LASTS_S}-{wanted}")
        return await self._storage.place(request, blob, asks_again=offer.asks_again, permit=permit)

    async def stored(self, request: Request) -> Response:
        _, blob = await self._offered(request)
        token, wanted = await self._permitted(request, blob.digest)
        await self._storage.register(request, blob)
        await self._mirrors.register(request.path_params["key"], token, blob, wanted)
        return Response(status_code=204)

    async def put(self, request: Request) -> Response:
        """For a model that is too large for one PUT to the object store, or may not go there directly."""
        await self._permitted(request, digest_in(request))
        self._check_is_on()
        return await self._storage.store(request)

    async def _offered(self, request: Request) -> tuple[MirrorOffer, Blob]:
        offer = await self._calls.read(request, MirrorOffer)
        if not is_digest(offer.digest) or not is_digest(offer.sha256):
            raise InvalidRequest("The model has no valid digest.")
        return offer, Blob(offer.digest, offer.sha256, offer.size, offer.name)

    async def _permitted(self, request: Request, digest: str) -> tuple[WorkerToken, str | None]:
        """(token of a call with a permit for this source and digest, digest that it must have). Raises Forbidden."""
        token = await self._calls.token(request)
        sent = request.headers.get(MIRROR_HEADER, "")
        terms = sent.rpartition("-")[0]
        until, _, wanted = terms.partition("-")
        is_timely = until.isascii() and until.isdigit() and len(until) <= 12 and int(until) > time.time()
        if is_timely:
            permit = self._permit(request, token, digest, terms)
            if hmac.compare_digest(permit.encode(), sent.encode()):
                return token, wanted or None
        raise Forbidden("A model is stored only after it was offered under the lease of a run that names it.")

    def _permit(self, request: Request, token: WorkerToken, digest: str, terms: str) -> str:
        """`terms` are the time at which the permit ends, and the digest that the content must have, or none."""
        who, key = f"{token.hash} {session_of(request)}", request.path_params["key"]
        return f"{terms}-{self._auth.signature(f'mirror {who} {key} {digest} {terms}')}"

    def _check_is_on(self) -> None:
        if not self._mirrors.is_on:
            raise InvalidRequest("This server does not store models that workers fetch.")
