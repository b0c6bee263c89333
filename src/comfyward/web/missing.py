"""The missing parts of a workflow, on its page: listed, got by one button, and followed until they are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from comfyward.dispatch.checks import Checks
from comfyward.dispatch.errands import Errand, ErrandKind, Errands, ErrandState, id_of
from comfyward.dispatch.getting import GetOptions, Getting, NotGot
from comfyward.environments.reference import Reference
from comfyward.errors import NotFound
from comfyward.store import workflows
from comfyward.store.db import Database, now_ms
from comfyward.web.missing_here import MissingHere, missing_by, missing_here
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.workflows.workflow import Workflow

MAX_FOLLOWED, MAX_JOBS_CHARACTERS = 100, 20_000  # errands of one workflow, and their ids


class Missing:
    def __init__(self, db: Database, checks: Checks, getting: Getting, errands: Errands) -> None:
        self._db, self._checks, self._getting, self._errands = db, checks, getting, errands

    def pages(self) -> list[Page]:
        one = "/workflows/{workflow_id}"
        return [
            Page("GET", f"{one}/missing", self.show, "What a workflow lacks here"),
            Page("POST", f"{one}/get", self.get, "Get what a workflow lacks here"),
            Page("GET", f"{one}/getting", self.follow, "How far that is"),
            Page("POST", f"{one}/getting/use", self.use, "Give a workflow the environment that was made for it"),
            Page("POST", f"{one}/getting/cancel", self.cancel, "Stop getting something"),
        ]

    async def show(self, request: PageRequest) -> Response:
        workflow = await self._workflow(request)
        missing = await missing_here(self._checks, workflow, asks=True)
        coming = [id_of(ErrandKind.IMPORT, model.import_id) for model in missing.models if model.import_id]
        return await self._rendered(request, workflow, missing, coming)

    async def get(self, request: PageRequest) -> Response:
        workflow = await self._workflow(request)
        options = GetOptions(workflow.name, Reference.name_in(workflow.environment), promotes=True)
        got = await self._getting.get(request.account, await self._checks.of_workflow(workflow), options)
        missing = missing_by(got.check, workflow.id)
        return await self._rendered(request, workflow, missing, [each.id for each in got.errands], got.left)

    async def follow(self, request: PageRequest) -> Response:
        workflow, ids = await self._workflow(request), request.query("jobs")[:MAX_JOBS_CHARACTERS].split()
        followed = await self._found(request, ids)
        if _is_getting(followed) or _made_for(workflow, followed) is not None:
            return request.render("getting.part.html", **_following(workflow, followed))
        if all(each.state is ErrandState.DONE for each in followed):
            return self._done(request, workflow)
        response = await self._rendered(request, workflow, await missing_here(self._checks, workflow, asks=True), ids)
        response.headers.update({"HX-Retarget": "#missing", "HX-Reswap": "innerHTML"})  # in place of the progress alone
        return response

    async def use(self, request: PageRequest) -> Response:
        workflow, ids = (
            await self._workflow(request),
            text_of(await request.form(), "jobs", MAX_JOBS_CHARACTERS).split(),
        )
        made = _made_for(workflow, await self._found(request, ids))
        if made is not None:
            await self._db.write(workflows.change, workflow.account_id, workflow.id, {"environment": made}, now_ms())
        return self._done(request, workflow)

    async def cancel(self, request: PageRequest) -> Response:
        workflow, form = await self._workflow(request), await request.form()
        cancelled, ids = text_of(form, "job", 200), text_of(form, "jobs", MAX_JOBS_CHARACTERS).split()
        await self._errands.cancel(request.account, cancelled)
        left = [each for each in ids if each != cancelled]
        return await self._rendered(request, workflow, await missing_here(self._checks, workflow, asks=True), left)

    async def _workflow(self, request: PageRequest) -> Workflow:
        return await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])

    def _done(self, request: PageRequest, workflow: Workflow) -> Response:
        """All has come: the page is loaded anew; the editor once it is asked, since it may have changes to save."""
        if not _is_in_editor(request):
            return request.redirect(f"/workflows/{workflow.id}")
        response = request.render("got.part.html", workflow=workflow)
        response.headers.update({"HX-Retarget": "#missing", "HX-Reswap": "innerHTML", "HX-Trigger": "got"})
        return response

    async def _found(self, request: PageRequest, ids: Sequence[str]) -> list[Errand]:
        """The errands that are still there: a model that has come may have been deleted since."""
        found = []
        for each in ids[:MAX_FOLLOWED]:
            try:
                found.append(await self._errands.get(request.account, each))
            except NotFound:
                continue
        return found

    async def _rendered(
        self,
        request: PageRequest,
        workflow: Workflow,
        missing: MissingHere,
        ids: Sequence[str],
        left: Sequence[NotGot] = (),
    ) -> Response:
        """The list of what is missing, with what is being got; the page, for a browser without scripts."""
        if not request.is_partial:
            return request.redirect(f"/workflows/{workflow.id}")
        values = _following(workflow, await self._found(request, ids))
        return request.render(
            "missing.part.html", **values, missing=missing, left=left, is_in_editor=_is_in_editor(request)
        )


def _following(workflow: Workflow, followed: Sequence[Errand]) -> dict[str, Any]:
    return {
        "workflow": workflow,
        "errands": followed,
        "is_getting": _is_getting(followed),
        "made": None if _is_getting(followed) else _made_for(workflow, followed),
        "jobs": " ".join(each.id for each in followed),
    }


def _is_in_editor(request: PageRequest) -> bool:
    """True if the list is in the editor's bar, and not on the workflow's page."""
    return request.http.headers.get("hx-current-url", "").partition("?")[0].endswith("/edit")


def _is_getting(followed: Sequence[Errand]) -> bool:
    """True while something is on its way; an admin's answer to a request may take days."""
    return any(not each.state.is_over for each in followed if each.kind is not ErrandKind.REQUEST)


def _made_for(workflow: Workflow, followed: Sequence[Errand]) -> str | None:
    """The environment that was made for a workflow; None if it has it."""
    made = (each.environment for each in followed if each.state is ErrandState.DONE and each.environment)
    return next((name for name in made if name != workflow.environment), None)
