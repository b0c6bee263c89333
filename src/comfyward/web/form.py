"""A form for each graph: its inputs with names, types, ranges and choices, so that nobody has to see the graph."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
from starlette.datastructures import FormData
from starlette.responses import Response
from starlette.routing import Route

from comfyward.dispatch.intake import Submission
from comfyward.errors import InvalidGraph
from comfyward.store import files, runs, workflows
from comfyward.store.db import now_ms
from comfyward.store.rows import text_of as json_text
from comfyward.web.problems import Advice, PageError, advices, on_problems
from comfyward.web.visit import Pages, Visit, text_of
from comfyward.workflows.graph import parse_graph, told_apart
from comfyward.workflows.inputs import (
    Input,
    chosen,
    inputs_of,
    parse,
    refuse_unchosen,
    shown_by_default,
    with_missing,
    with_values,
)
from comfyward.workflows.listing import Paths
from comfyward.workflows.needs import model_urls
from comfyward.workflows.starters import MODEL_URLS
from comfyward.workflows.validation import check
from comfyward.workflows.workflow import Workflow

MAX_CHOICES = 2000
MAX_LABEL = 100
VALUE, CHANGED = "value:", "has:"


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/workflows/{workflow_id}/form", edit),
        pages.post("/workflows/{workflow_id}/form", save),
        pages.post("/workflows/{workflow_id}/run", run),
        pages.get("/runs/{run_id}/change", change_run),
        pages.post("/runs/{run_id}/change", run_changed),
    ]


async def form_values(visit: Visit, workflow: Workflow) -> dict[str, Any]:
    """What the form's template needs for a workflow."""
    inputs = await all_inputs(visit, workflow.graph)
    return {
        "inputs": with_missing(_labelled(workflow, inputs), inputs),
        "lacking": await lacking(visit, workflow.graph, workflow.editor_graph, workflow.id),
        "action": f"/workflows/{workflow.id}/run",
        "form_pools": await visit.context.inventory.pools(),
        "accelerator": workflow.accelerator,
        "made_of": workflow.updated_at,
        "max_choices": MAX_CHOICES,
    }


async def edit(visit: Visit) -> Response:
    """Which inputs the form shows."""
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    inputs = await all_inputs(visit, workflow.graph)
    shown = {each.key: each.label for each in _labelled(workflow, inputs)}
    return visit.page("form_edit.html", workflow=workflow, all_inputs=inputs, shown=shown, tab="run")


async def save(visit: Visit) -> Response:
    form = await visit.form()
    keys = [str(key) for key in form.getlist("shown")]
    fields = [{"key": key, "label": text_of(form, f"label:{key}", MAX_LABEL, "a name")} for key in keys]
    stored = json_text(fields) if fields else None
    workflow = await visit.context.db.write(
        workflows.change, visit.account.id, visit["workflow_id"], {"form": stored}, now_ms()
    )
    return visit.to(f"/workflows/{workflow.id}")


async def run(visit: Visit) -> Response:
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    if workflow.graph is None:
        raise PageError("There is nothing to run yet.", hint="Open it in the editor: it saves by itself.")
    form = await visit.form()
    prompt = _filled(form, workflow.graph, await all_inputs(visit, workflow.graph))
    accelerator = text_of(form, "accelerator", 60) or workflow.accelerator
    submission = Submission(workflow.id, prompt, accelerator=accelerator, idempotency_key=_key(visit, prompt))
    try:
        made = await visit.context.intake.submit(visit.who, submission)
    except InvalidGraph as error:
        if problems := error.details.get("problems"):
            error.details = {**error.details, "problems": _with_urls(problems, workflow.editor_graph)}
        raise
    return visit.to(f"/runs/{made.run_id}")


async def change_run(visit: Visit) -> Response:
    """The form with a run's own values, for a run with some of them changed."""
    before = await visit.context.db.lookup(runs.get, visit.account.id, visit["run_id"])
    inputs = await all_inputs(visit, before.prompt, before.files)
    return visit.page(
        "change.html",
        run=before,
        inputs=inputs,
        first=[each.key for each in with_missing(shown_by_default(inputs), inputs)],
        action=f"/runs/{before.id}/change",
        form_pools=await visit.context.inventory.pools(),
        accelerator=before.accelerator,
        max_choices=MAX_CHOICES,
    )


async def run_changed(visit: Visit) -> Response:
    before = await visit.context.db.lookup(runs.get, visit.account.id, visit["run_id"])
    form = await visit.form()
    prompt = _filled(form, before.prompt, await all_inputs(visit, before.prompt, before.files))
    accelerator = text_of(form, "accelerator", 60) or before.accelerator
    submission = Submission.again(before, prompt=prompt, accelerator=accelerator, idempotency_key=_key(visit, prompt))
    made = await visit.context.intake.submit(visit.who, submission)
    return visit.to(f"/runs/{made.run_id}")


def _key(visit: Visit, prompt: dict[str, Any]) -> str | None:
    """An intent makes one run of one graph: what the form was made of may have changed meanwhile."""
    if visit.intent is None:
        return None
    return hashlib.sha256(f"{visit.intent} {json_text(prompt)}".encode()).hexdigest()


async def all_inputs(visit: Visit, graph_text: str | None, brought: Iterable[str] = ()) -> list[Input]:
    """Every input of a graph, with the names that the account can choose from; `brought` come with the run."""
    if graph_text is None:
        return []
    own = await _usable(visit, brought)
    return inputs_of(parse_graph(msgspec.json.decode(graph_text)), await visit.context.inventory.catalog_lately(), own)


async def lacking(
    visit: Visit, graph_text: str | None, editor_text: str | None = None, workflow_id: str | None = None
) -> list[Advice]:
    """What has to be brought or mended before a graph can run. A file that is only yet to be chosen is no trouble.
    `workflow_id` is the visitor's own workflow, whose editor they can open."""
    catalog = await visit.context.inventory.catalog_lately()
    if graph_text is None or catalog is None:
        return []
    try:
        verdict = check(parse_graph(msgspec.json.decode(graph_text)), catalog, await _usable(visit))
    except InvalidGraph as error:
        return advices(error, workflow_id)
    found = _with_urls(verdict.facts(), editor_text)
    to_do = [facts for facts in found if facts["folder"] is None or facts["received"]]
    return on_problems(to_do, workflow_id)


def _with_urls(problems: Iterable[Mapping[str, Any]], editor_text: str | None) -> list[dict[str, Any]]:
    """Problems of a graph, those of missing models with the address where the graph or a starter says they are got."""
    urls = MODEL_URLS | model_urls(msgspec.json.decode(editor_text) if editor_text else None)
    return [{**facts, "url": urls.get(str(facts.get("received")))} for facts in problems]


async def _usable(visit: Visit, brought: Iterable[str] = ()) -> Paths:
    """The files that a run of the account finds by name."""
    return Paths([*await visit.context.db.read(files.usable_paths, visit.account.id), *brought])


def _labelled(workflow: Workflow, inputs: list[Input]) -> list[Input]:
    """The inputs that a workflow's form shows, under the names that its owner gave them."""
    if workflow.form is None:
        return shown_by_default(inputs)
    labels: Mapping[str, str] = {each["key"]: each["label"] for each in msgspec.json.decode(workflow.form)}
    found = chosen(inputs, labels)
    if not found:  # the graph has changed under the form
        return shown_by_default(inputs)
    shown = told_apart([labels[each.key] or each.label for each in found])
    return [replace(each, label=label) for each, label in zip(found, shown, strict=True)]


def _filled(form: FormData, graph_text: str, inputs: list[Input]) -> dict[str, Any]:
    """The graph with what the form says. Raises InvalidValue naming the first input that cannot be so,
    InvalidGraph for files that are yet to be chosen."""
    by_key = {each.key: each for each in inputs}
    values = []
    for name in form:
        if name.startswith(CHANGED) and (each := by_key.get(name.removeprefix(CHANGED))) is not None:
            values.append((each, parse(each, text_of(form, f"{VALUE}{each.key}", 100_000, each.label))))
    refuse_unchosen({each.key: (each, each.value) for each in inputs} | {each.key: (each, new) for each, new in values})
    return with_values(msgspec.json.decode(graph_text), values)
