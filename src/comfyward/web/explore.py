"""Workflows that other accounts have made public."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from comfyward.api.contents import Contents
from comfyward.dispatch.checks import Checks
from comfyward.store import workflows
from comfyward.store.db import Database
from comfyward.web import formatting
from comfyward.web.cards import card_values, search_of
from comfyward.web.missing_here import missing_here
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest
from comfyward.web.problems import PageError
from comfyward.web.workflow_copies import WorkflowCopies
from comfyward.workflows.graph import parse_graph


class Explore:
    def __init__(self, db: Database, checks: Checks, copies: WorkflowCopies, contents: Contents) -> None:
        self._db, self._checks, self._copies, self._contents = db, checks, copies, contents

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/explore", self.list_all, "All public workflows"),
            Page("GET", "/explore/{workflow_id}", self.show, "A public workflow"),
            Page("GET", "/explore/{workflow_id}/picture", self.picture, "The latest output of a public workflow"),
            Page("POST", "/explore/{workflow_id}/use", self.use, "Copy a public workflow"),
        ]

    async def list_all(self, request: PageRequest) -> Response:
        search = search_of(request)
        values = card_values(await self._db.read(workflows.public_cards, search), search, "/explore")
        return request.render("cards.part.html" if request.is_partial else "explore.html", **values)

    async def show(self, request: PageRequest) -> Response:
        account = request.account
        workflow = await self._db.lookup(workflows.visible, account.id, request["workflow_id"])
        graph = parse_graph(msgspec.json.decode(workflow.graph)) if workflow.graph else None
        copy = await self._copies.of(account.id, workflow)
        return request.render(
            "public.html",
            workflow=workflow,
            classes=graph.classes() if graph else [],
            missing=await missing_here(self._checks, copy, is_own=False),
        )

    async def picture(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.visible, request.account.id, request["workflow_id"])
        output = formatting.cover(await self._db.read(workflows.newest_result, workflow.id))
        if output is None:
            raise PageError("This workflow has no image yet.", status=404)
        response = await self._contents.thumbnail(workflow.account_id, output.digest)
        response.headers["Cache-Control"] = "private, max-age=60"  # the next run has another one
        return response

    async def use(self, request: PageRequest) -> Response:
        source = await self._db.lookup(workflows.visible, request.account.id, request["workflow_id"])
        copy = await self._copies.create(request.account.id, source, source.name)
        return request.redirect(f"/workflows/{copy.id}")
