"""The webhook deliveries of an account, and the secret that signs them."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from comfyward.api.auth import Auth
from comfyward.api.v1.shapes import Shapes
from comfyward.delivery.webhooks import Webhooks
from comfyward.store import accounts, webhooks
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest

MAX_DELIVERIES = 100


class AccountWebhooks:
    def __init__(self, db: Database, auth: Auth, webhooks: Webhooks) -> None:
        self._db, self._auth, self._webhooks = db, auth, webhooks

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/account/webhooks", self.show, "Deliveries and the signing secret"),
            Page("POST", "/account/webhooks/rotate", self.rotate_secret, "Create a new signing secret"),
            Page("POST", "/account/webhooks/secret", self.show_secret, "Show the signing secret"),
            Page("GET", "/account/webhooks/{delivery_id}", self.show_delivery, "A delivery's request and response"),
            Page("POST", "/account/webhooks/{delivery_id}/resend", self.resend, "Send a delivery again"),
        ]

    async def show(self, request: PageRequest) -> Response:
        return await self._page(request)

    async def show_secret(self, request: PageRequest) -> Response:
        account = await self._db.lookup(accounts.by_id, request.account.id)
        return await self._page(request, account.webhook_secret)

    async def rotate_secret(self, request: PageRequest) -> Response:
        secret = await self._db.write(accounts.rotate_webhook_secret, request.account.id, now_ms())
        return await self._page(request, secret)

    async def show_delivery(self, request: PageRequest) -> Response:
        due = await self._db.read(webhooks.get, request.account.id, request["delivery_id"], now_ms())
        shapes = Shapes(self._auth, lambda: request.base_url)
        body = msgspec.json.format(shapes.run_json(due.run), indent=2).decode()
        return request.render("delivery.part.html", delivery=due.delivery, body=body)

    async def resend(self, request: PageRequest) -> Response:
        await self._webhooks.resend(request.account.id, request["delivery_id"])
        return request.redirect("/account/webhooks")

    async def _page(self, request: PageRequest, secret: str | None = None) -> Response:
        account_id, run_id = request.account.id, request.query("run") or None
        return request.render(
            "account_webhooks.html",
            deliveries=await self._db.read(webhooks.find, account_id, run_id, MAX_DELIVERIES),
            account=await self._db.lookup(accounts.by_id, account_id),
            secret=secret,
            tab="webhooks",
        )
