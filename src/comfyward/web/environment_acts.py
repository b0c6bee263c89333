"""Acts of admins on environments: create, try, promote by hand or after good trials, roll back, delete."""

from __future__ import annotations

import functools

from starlette.datastructures import FormData
from starlette.responses import Response

from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch import promotions, specs
from comfyward.dispatch.revisions import Revisions
from comfyward.environments.reference import Reference
from comfyward.environments.source import checked_name, parse_comfyui
from comfyward.environments.spec import Spec
from comfyward.store import environments, rehearsals
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError


class EnvironmentActs:
    def __init__(self, db: Database, revisions: Revisions) -> None:
        self._db, self._revisions = db, revisions

    def pages(self) -> list[Page]:
        one = "/environments/{name}"
        return [
            Page("POST", "/environments", self.create, "Create an environment", Access.ADMINS),
            Page("POST", f"{one}/try", self.ask_to_try, "Have workers build and try a revision", Access.ADMINS),
            Page("POST", f"{one}/promote", self.promote, "Make a revision current", Access.ADMINS),
            Page("POST", f"{one}/unmark", self.unmark, "Take a workflow out of the trials", Access.ADMINS),
            Page("POST", f"{one}/auto-promote", self.auto_promote, "Promote after good trials, or not", Access.ADMINS),
            Page("POST", f"{one}/rollback", self.roll_back, "Make the former revision current", Access.ADMINS),
            Page("POST", f"{one}/delete", self.delete, "Delete an environment", Access.ADMINS),
        ]

    async def create(self, request: PageRequest) -> Response:
        form = await request.form()
        name = checked_name(text_of(form, "name", 100), "an environment")
        spec = Spec(parse_comfyui(text_of(form, "comfyui", 2000)))
        await self._db.write(specs.create, name, spec, now_ms())
        return request.redirect(f"/environments/{name}/edit")

    async def ask_to_try(self, request: PageRequest) -> Response:
        asked = _asked(request, await request.form())
        await self._check_is_locked(asked)
        await self._db.write(promotions.ask_to_try, asked, now_ms())
        return self._changed(request)

    async def promote(self, request: PageRequest) -> Response:
        form = await request.form()
        needs_trial = text_of(form, "without_trial") != "yes"
        promote = functools.partial(promotions.promote, needs_trial=needs_trial)
        await self._db.write(promote, _asked(request, form), now_ms())
        return self._changed(request)

    async def unmark(self, request: PageRequest) -> Response:
        workflow = text_of(await request.form(), "workflow", 60)
        await self._db.write(rehearsals.unmark, request["name"], workflow)
        return self._changed(request)

    async def auto_promote(self, request: PageRequest) -> Response:
        is_on = text_of(await request.form(), "on") == "yes"
        change = functools.partial(environments.set_auto_promote, auto_promote=is_on)
        await self._db.write(change, request["name"], now_ms())
        return request.redirect(f"/environments/{request['name']}")

    async def roll_back(self, request: PageRequest) -> Response:
        await self._db.write(environments.roll_back, request["name"], now_ms())
        return self._changed(request)

    async def delete(self, request: PageRequest) -> Response:
        await self._db.write(environments.delete_named, request["name"])
        self._revisions.changed()
        return request.redirect("/environments")

    def _changed(self, request: PageRequest) -> Response:
        self._revisions.changed()
        return request.redirect(f"/environments/{request['name']}")

    async def _check_is_locked(self, asked: Reference) -> None:
        """Raises PageError for an environment without revisions."""
        found = await self._db.read(environments.get, asked.name)
        if not found.newest:
            raise PageError(f"{asked.name} has no revision yet.", "Lock it first.", status=409)


def _asked(request: PageRequest, form: FormData) -> Reference:
    """The revision that a form names; the newest one if it names none."""
    return Reference(request["name"], whole_number(text_of(form, "revision", 10), least=1))
