"""The next revision is made by the server: begun, followed, cancelled; and what an update proposes."""

from __future__ import annotations

from starlette.responses import Response

from comfyward.dispatch.lockings import Lockings
from comfyward.store.lockings import LOCK, TRY, UPDATE, Wish
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of

AFTERWARDS = ("", TRY)


class EnvironmentLockings:
    def __init__(self, lockings: Lockings) -> None:
        self._lockings = lockings

    def pages(self) -> list[Page]:
        one = "/environments/{name}"
        return [
            Page("POST", f"{one}/lock", self.lock, "Make the next revision", Access.ADMINS),
            Page("POST", f"{one}/lock/cancel", self.cancel, "Cancel the making of a revision", Access.ADMINS),
            Page("POST", f"{one}/update", self.update, "Look for newer versions of everything", Access.ADMINS),
            Page("POST", f"{one}/update/accept", self.accept, "Make the revision that was proposed", Access.ADMINS),
        ]

    async def lock(self, request: PageRequest) -> Response:
        then = text_of(await request.form(), "then", 10)
        await self._lockings.begin(request["name"], Wish(LOCK, next=then if then in AFTERWARDS else ""))
        return request.redirect(f"/environments/{request['name']}")

    async def cancel(self, request: PageRequest) -> Response:
        await self._lockings.cancel(request["name"])
        return request.redirect(f"/environments/{request['name']}")

    async def update(self, request: PageRequest) -> Response:
        """Newer packs, packages and commits; ComfyUI stays unless the form names another release."""
        comfyui = text_of(await request.form(), "comfyui", 40)
        await self._lockings.begin(request["name"], Wish(UPDATE, comfyui))
        return request.redirect(f"/environments/{request['name']}")

    async def accept(self, request: PageRequest) -> Response:
        await self._lockings.accept(request["name"])
        return request.redirect(f"/environments/{request['name']}")
