"""Webhooks of v1: the secret that signs them, and their deliveries."""

from __future__ import annotations

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.v1 import answers
from comfyward.api.v1.shapes import Rendering
from comfyward.delivery.webhooks import Webhooks as Delivering
from comfyward.store import accounts, webhooks
from comfyward.store.db import Database


class DeliveriesQuery(BaseModel):
    run: str | None = Field(None, description="Only deliveries of this run.")
    limit: int = Field(100, ge=1, le=1000)


class Webhooks:
    def __init__(self, auth: Auth, db: Database, delivering: Delivering, rendering: Rendering) -> None:
        self._auth, self._db, self._delivering, self._rendering = auth, db, delivering, rendering

    def endpoints(self) -> list[Endpoint]:
        secret = Models(answer=answers.WebhookSecret)
        listed = Models(query=DeliveriesQuery, answer=list[answers.Delivery])
        resent = Models(answer=answers.Resent, status=202)
        one = "/webhooks/deliveries/{delivery_id}"
        return [
            Endpoint("GET", "/webhooks/secret", self.secret, "The secret that signs this account's webhooks", secret),
            Endpoint("GET", "/webhooks/deliveries", self.find, "Webhook deliveries, newest first", listed),
            Endpoint("POST", f"{one}/resend", self.resend, "Send a delivery again", resent),
        ]

    async def secret(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        account = await self._db.lookup(accounts.by_id, caller.account.id)
        return answer({"secret": account.webhook_secret})

    async def find(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        query = read_query(request, DeliveriesQuery)
        found = await self._db.read(webhooks.find, caller.account.id, query.run, query.limit)
        shapes = self._rendering.of(request)
        return answer([shapes.delivery(delivery) for delivery in found])

    async def resend(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        delivery_id = request.path_params["delivery_id"]
        await self._delivering.resend(caller.account.id, delivery_id)
        return answer({"id": delivery_id, "state": "pending"}, 202)
