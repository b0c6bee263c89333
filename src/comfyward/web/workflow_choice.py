"""The choice of a new workflow's beginning: starters and ComfyUI's templates, with what they lack here."""

from __future__ import annotations

from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.checks import Checks
from comfyward.web.comfyui_templates import MEDIA, ComfyUITemplates
from comfyward.web.missing_here import MissingHere, missing_here
from comfyward.web.new_workflow import from_starter
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest
from comfyward.web.template_marks import Mark, TemplateFilter, TemplateMarks
from comfyward.workflows.starters import STARTERS

EACH_TIME = 24  # templates that are shown at first, and that "Show more" adds
SIZES_GB = (2, 8, 24, 64)  # to filter by


class WorkflowChoice:
    def __init__(self, checks: Checks, templates: ComfyUITemplates, marks: TemplateMarks) -> None:
        self._checks, self._templates, self._marks = checks, templates, marks

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/workflows/new", self.choose, "Starters and templates"),
            Page("GET", "/workflows/new/templates", self.templates, "ComfyUI's templates, with what they need here"),
        ]

    async def choose(self, request: PageRequest) -> Response:
        return request.render(
            "new.html",
            has_templates=self._templates.are_installed,
            starters=STARTERS,
            needs=await self._needs(request.account),
            are_models_known=await self._marks.are_known(),
            wanted=_wanted(request),
            media=MEDIA,
            sizes_gb=SIZES_GB,
        )

    async def templates(self, request: PageRequest) -> Response:
        """The templates that are wanted, from one of a number on."""
        wanted, first = _wanted(request), whole_number(request.query("from"), most=100_000) or 0
        marked = [each for each in await self._marks.of(request.account.id) if wanted.takes(each)]
        last = first + EACH_TIME
        return request.render(
            "templates.part.html",
            templates=marked[first:last],
            is_more=first > 0,
            more=f"/workflows/new/templates?{wanted.query}&from={last}" if last < len(marked) else None,
            are_known=await self._marks.are_known(),
        )

    async def _needs(self, account: Account) -> dict[str, MissingHere]:
        """The things that each starter with a model lacks."""
        made = {key: from_starter(account.id, each) for key, each in STARTERS.items() if each.model}
        return {key: await missing_here(self._checks, workflow, is_own=False) for key, workflow in made.items()}


def _wanted(request: PageRequest) -> TemplateFilter:
    mark, medium = request.query("mark"), request.query("medium")
    size_gb = whole_number(request.query("size"), most=10_000) or 0
    return TemplateFilter(
        request.query("q")[:200],
        mark if mark in list(Mark) else "",
        medium if medium in MEDIA else "",
        size_gb,
    )
