"""Forms of graphs: run a workflow or a run's graph with other values, and choose which inputs a form shows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.datastructures import FormData
from starlette.responses import Response

from comfyward.dispatch.checks import Checks
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.dispatch.intake import Intake, Submission
from comfyward.errors import InvalidGraph
from comfyward.store import runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.rows import text_of as json_text
from comfyward.web.graph_inputs import MAX_CHOICES, GraphInputs, form_inputs
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError
from comfyward.workflows.inputs import Input, parse, refuse_unchosen, shown_by_default, with_missing, with_values
from comfyward.workflows.posted import Posted
from comfyward.workflows.workflow import Workflow

MAX_LABEL = 100
VALUE, PRESENT = "value:", "has:"


class Forms:
    def __init__(self, db: Database, intake: Intake, inputs: GraphInputs, checks: Checks, graphs: SavedGraphs) -> None:
        self._db, self._intake = db, intake
        self._inputs, self._checks, self._graphs = inputs, checks, graphs

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/workflows/{workflow_id}/form", self.edit, "Choose the inputs of a workflow's form"),
            Page("POST", "/workflows/{workflow_id}/form", self.save, "Save the inputs of a workflow's form"),
            Page("POST", "/workflows/{workflow_id}/run", self.run, "Run a workflow"),
            Page("GET", "/runs/{run_id}/change", self.show_changes, "The form with a run's own values"),
            Page("POST", "/runs/{run_id}/change", self.run_with_changes, "Run a run's graph with other values"),
        ]

    async def edit(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        workflow = await self._graphs.completed(workflow)
        inputs = await self._inputs.of(request.account.id, workflow.graph, environment=workflow.environment)
        shown = {each.key: each.label for each in form_inputs(workflow, inputs)}
        return request.render("form_edit.html", workflow=workflow, all_inputs=inputs, shown=shown, tab="run")

    async def save(self, request: PageRequest) -> Response:
        form = await request.form()
        keys = [str(key) for key in form.getlist("shown")]
        fields = [{"key": key, "label": text_of(form, f"label:{key}", MAX_LABEL, "a label")} for key in keys]
        values = {"form": json_text(fields) if fields else None}
        workflow = await self._db.write(workflows.change, request.account.id, request["workflow_id"], values, now_ms())
        return request.redirect(f"/workflows/{workflow.id}")

    async def run(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        workflow = await self._graphs.completed(workflow)
        if workflow.graph is None:
            raise PageError(
                "This workflow has nothing to run yet.", hint="Open it in the editor; changes are saved automatically."
            )
        form = await request.form()
        prompt = _filled(
            form,
            workflow.graph,
            await self._inputs.of(request.account.id, workflow.graph, environment=workflow.environment),
        )
        accelerator = text_of(form, "accelerator", 60) or workflow.accelerator
        key = _idempotency_key(request, prompt)
        submission = Submission(workflow.id, prompt, accelerator=accelerator, idempotency_key=key)
        try:
            submitted = await self._intake.submit(request.caller, submission)
        except InvalidGraph as error:
            if problems := error.details.get("problems"):
                error.details = {**error.details, "problems": await self._with_urls(problems, prompt, workflow)}
            raise
        return request.redirect(f"/runs/{submitted.run_id}")

    async def _with_urls(self, problems: Iterable[Mapping[str, Any]], prompt: Any, workflow: Workflow) -> list[Any]:
        """The problems of a graph, those of missing models with the URLs that a check knows."""
        editor_graph = msgspec.json.decode(workflow.editor_graph or "null")
        size = len(workflow.graph or "") + len(workflow.editor_graph or "")
        check = await self._checks.check(
            *(workflow.account_id, Posted(prompt, editor_graph), size, workflow.environment), asks=False
        )
        urls = {model.need.name: model.source.url for model in check.models if model.source is not None}
        return [{**facts, "url": urls.get(str(facts.get("received")))} for facts in problems]

    async def show_changes(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        inputs = await self._inputs.of(request.account.id, run.prompt, run.files, environment=run.environment_name)
        return request.render(
            "change.html",
            run=run,
            inputs=inputs,
            first=[each.key for each in with_missing(shown_by_default(inputs), inputs)],
            action=f"/runs/{run.id}/change",
            form_pools=await self._inputs.pools(),
            accelerator=run.accelerator,
            max_choices=MAX_CHOICES,
        )

    async def run_with_changes(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        form = await request.form()
        prompt = _filled(
            form,
            run.prompt,
            await self._inputs.of(request.account.id, run.prompt, run.files, environment=run.environment_name),
        )
        accelerator = text_of(form, "accelerator", 60) or run.accelerator
        key = _idempotency_key(request, prompt)
        submission = Submission.again(run, prompt=prompt, accelerator=accelerator, idempotency_key=key)
        submitted = await self._intake.submit(request.caller, submission)
        return request.redirect(f"/runs/{submitted.run_id}")


def _idempotency_key(request: PageRequest, prompt: dict[str, Any]) -> str | None:
    """One intent makes one run of one graph: the workflow may have changed since the form was rendered."""
    if request.intent is None:
        return None
    return hashlib.sha256(f"{request.intent} {json_text(prompt)}".encode()).hexdigest()


def _filled(form: FormData, graph: str, inputs: list[Input]) -> dict[str, Any]:
    """The graph with the form's values. Raises InvalidValue naming the first invalid input, InvalidGraph for files
    that are yet to be chosen."""
    by_key = {each.key: each for each in inputs}
    values = []
    for name in form:
        if name.startswith(PRESENT) and (each := by_key.get(name.removeprefix(PRESENT))) is not None:
            values.append((each, parse(each, text_of(form, f"{VALUE}{each.key}", 100_000, each.label))))
    refuse_unchosen({each.key: (each, each.value) for each in inputs} | {each.key: (each, new) for each, new in values})
    return with_values(msgspec.json.decode(graph), values)
