"""The missing parts of a workflow, or of a run's graph, on its page: listed, got by one button, and followed until they
are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from comfyward.dispatch.acquisition import Acquisition, GetOptions, NotGot
from comfyward.dispatch.checks import Checks
from comfyward.dispatch.errands import Errand, ErrandKind, Errands, ErrandState, id_of
from comfyward.environments.reference import Reference
from comfyward.errors import NotFound
from comfyward.runs.files import Stored, Url
from comfyward.store import runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.web.missing_here import MissingHere, missing_by, missing_here
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.run_graph import files_of, workflow_of
from comfyward.workflows.workflow import Workflow

MAX_FOLLOWED, MAX_JOBS_CHARACTERS = 100, 20_000  # errands of one workflow, and their ids


@dataclass(frozen=True)
class Lacking:
    """The holder of what may be missing: a workflow, or a run's graph as one; with the address of its page.

    `brought` are a run's own files, by path.
    """

    workflow: Workflow
    address: str
    brought: Mapping[str, Url | Stored] = field(default_factory=dict)
    is_run: bool = False

    @property
    def form(self) -> str:
        """The address of its form; "" for the page itself."""
        return f"{self.address}/change" if self.is_run else ""


class MissingParts:
    def __init__(self, db: Database, checks: Checks, acquisition: Acquisition, errands: Errands) -> None:
        self._db, self._checks, self._acquisition, self._errands = db, checks, acquisition, errands

    def pages(self) -> list[Page]:
        use = "Give a workflow the environment that was made for it"
        return [
            *self._of("/workflows/{workflow_id}", "a workflow"),
            Page("POST", "/workflows/{workflow_id}/getting/use", self.use, use),
            *self._of("/runs/{run_id}", "a run's graph"),
        ]

    def _of(self, one: str, what: str) -> list[Page]:
        return [
            Page("GET", f"{one}/missing", self.show, f"What {what} lacks here"),
            Page("POST", f"{one}/get", self.get, f"Get what {what} lacks here"),
            Page("GET", f"{one}/getting", self.follow, "How far that is"),
            Page("POST", f"{one}/getting/cancel", self.cancel, "Stop getting something"),
        ]

    async def show(self, request: PageRequest) -> Response:
        lacking = await self._lacking(request)
        missing = await self._missing(lacking)
        coming = [id_of(ErrandKind.IMPORT, model.import_id) for model in missing.models if model.import_id]
        return await self._rendered(request, lacking, missing, coming)

    async def get(self, request: PageRequest) -> Response:
        lacking = await self._lacking(request)
        workflow = lacking.workflow
        options = GetOptions(workflow.name, Reference.name_in(workflow.environment), promotes=True)
        check = await self._checks.of_workflow(workflow, lacking.brought)
        got = await self._acquisition.get(request.account, check, options)
        missing = missing_by(got.check, None if lacking.is_run else workflow.id)
        return await self._rendered(request, lacking, missing, [each.id for each in got.errands], got.left)

    async def follow(self, request: PageRequest) -> Response:
        lacking, ids = await self._lacking(request), request.query("jobs")[:MAX_JOBS_CHARACTERS].split()
        followed = await self._found(request, ids)
        if _is_getting(followed) or _made_for(lacking, followed) is not None:
            return request.render("getting.part.html", **_following(lacking, followed))
        if all(each.state is ErrandState.DONE for each in followed):
            return self._done(request, lacking)
        missing = await self._missing(lacking)
        response = await self._rendered(request, lacking, missing, ids)
        response.headers.update({"HX-Retarget": "#missing", "HX-Reswap": "innerHTML"})  # in place of the progress alone
        return response

    async def use(self, request: PageRequest) -> Response:
        lacking = await self._lacking(request)
        workflow, ids = lacking.workflow, text_of(await request.form(), "jobs", MAX_JOBS_CHARACTERS).split()
        made = _made_for(lacking, await self._found(request, ids))
        if made is not None:
            await self._db.write(workflows.change, workflow.account_id, workflow.id, {"environment": made}, now_ms())
        return self._done(request, lacking)

    async def cancel(self, request: PageRequest) -> Response:
        lacking, form = await self._lacking(request), await request.form()
        cancelled, ids = text_of(form, "job", 200), text_of(form, "jobs", MAX_JOBS_CHARACTERS).split()
        await self._errands.cancel(request.account, cancelled)
        left = [each for each in ids if each != cancelled]
        return await self._rendered(request, lacking, await self._missing(lacking), left)

    async def _lacking(self, request: PageRequest) -> Lacking:
        account_id, params = request.account.id, request.http.path_params
        if "run_id" not in params:
            workflow = await self._db.lookup(workflows.get, account_id, params["workflow_id"])
            return Lacking(workflow, f"/workflows/{workflow.id}")
        run = await self._db.lookup(runs.get, account_id, params["run_id"])
        names = await self._db.read(workflows.names, account_id)
        workflow = workflow_of(run, names.get(run.workflow_id, ""))
        return Lacking(workflow, f"/runs/{run.id}", files_of(run), is_run=True)

    async def _missing(self, lacking: Lacking) -> MissingHere:
        is_own = not lacking.is_run
        return await missing_here(self._checks, lacking.workflow, lacking.brought, asks=True, is_own=is_own)

    def _done(self, request: PageRequest, lacking: Lacking) -> Response:
        """All has come: the page is loaded anew; the editor once it is asked, since it may have changes to save."""
        if not _is_in_editor(request):
            return request.redirect(lacking.address)
        response = request.render("got.part.html", workflow=lacking.workflow)
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
        lacking: Lacking,
        missing: MissingHere,
        ids: Sequence[str],
        left: Sequence[NotGot] = (),
    ) -> Response:
        """The list of what is missing, with what is being got; the page, for a browser without scripts."""
        if not request.is_partial:
            return request.redirect(lacking.address)
        values = _following(lacking, await self._found(request, ids)) | {"missing": missing, "left": left}
        return request.render("missing.part.html", **values, form=lacking.form, is_in_editor=_is_in_editor(request))


def _following(lacking: Lacking, followed: Sequence[Errand]) -> dict[str, Any]:
    return {
        "base": lacking.address,
        "errands": followed,
        "is_getting": _is_getting(followed),
        "made": None if _is_getting(followed) else _made_for(lacking, followed),
        "jobs": " ".join(each.id for each in followed),
    }


def _is_in_editor(request: PageRequest) -> bool:
    """True if the list is in the editor's bar, and not on the workflow's page."""
    return request.http.headers.get("hx-current-url", "").partition("?")[0].endswith("/edit")


def _is_getting(followed: Sequence[Errand]) -> bool:
    """True while something is on its way; an admin's answer to a request may take days."""
    return any(not each.state.is_over for each in followed if each.kind is not ErrandKind.REQUEST)


def _made_for(lacking: Lacking, followed: Sequence[Errand]) -> str | None:
    """The environment that was made for a workflow; None if it has it. A run's is what it was."""
    made = (each.environment for each in followed if each.state is ErrandState.DONE and each.environment)
    return None if lacking.is_run else next((name for name in made if name != lacking.workflow.environment), None)
