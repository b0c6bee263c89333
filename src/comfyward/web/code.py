"""View API code: programs that make exactly this run, with chosen inputs as variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from starlette.responses import Response
from starlette.routing import Route

from comfyward.api.shapes import API_PREFIX
from comfyward.runs.address import without_login
from comfyward.runs.run import Run
from comfyward.store import files, runs, workflows
from comfyward.web.form import all_inputs
from comfyward.web.problems import PageError
from comfyward.web.snippets import Recipe, Snippet, Variable, snippets, variable_names
from comfyward.web.visit import Pages, Visit
from comfyward.workflows.inputs import chosen, with_values

_FORMAT = HtmlFormatter(nowrap=True)
DEFAULT_LANGUAGE = "curl"


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/workflows/{workflow_id}/api", of_workflow),
        pages.get("/runs/{run_id}/api", of_run),
    ]


async def of_workflow(visit: Visit) -> Response:
    """For the workflow's saved graph."""
    workflow = await visit.context.db.lookup(workflows.get, visit.account.id, visit["workflow_id"])
    if workflow.graph is None:
        raise PageError("There is nothing to run yet.", hint="Open it in the editor: it saves by itself.")
    values = await _values(visit, workflow.id, workflow.graph, accelerator=workflow.accelerator)
    if visit.is_partial:
        return visit.page("code.part.html", **values)
    return visit.page("code.html", **values, workflow=workflow, run=None, tab="api")


async def of_run(visit: Visit) -> Response:
    """For a run that was made: with its files, accelerator and webhook."""
    run = await visit.context.db.lookup(runs.get, visit.account.id, visit["run_id"])
    own = {file.path: file.digest for file in await visit.context.db.read(files.at, run.account_id, list(run.files))}
    stored = {path: source["blob"] for path, source in run.files.items() if "blob" in source}
    values = await _values(
        visit,
        run.workflow_id,
        run.prompt,
        files=_files(visit, run, own),
        stored={path: digest for path, digest in stored.items() if own.get(path) != digest},
        accelerator=run.accelerator,
        webhook=without_login(run.webhook) if run.webhook else None,
    )
    if visit.is_partial:
        return visit.page("code.part.html", **values)
    name = (await visit.context.db.read(workflows.names, visit.account.id)).get(run.workflow_id, "")
    return visit.page("code.html", **values, workflow=None, run=run, name=name)


async def _values(visit: Visit, workflow_id: str, graph_text: str, **more: Any) -> dict[str, Any]:
    inputs = await all_inputs(visit, graph_text)
    varied = chosen(inputs, visit.request.query_params.getlist("vary"))
    names = variable_names([(each.key, each.name, each.node) for each in varied])
    prompt = with_values(msgspec.json.decode(graph_text), [(each, Variable(names[each.key])) for each in varied])
    values = {names[each.key]: each.value for each in varied}
    made = snippets(Recipe(visit.context.base_url(visit.request), workflow_id, prompt, values, **more))
    wanted = visit.asked("language", DEFAULT_LANGUAGE)
    shown = next((snippet for snippet in made if snippet.id == wanted), made[0])
    return {
        "snippets": made,
        "shown": shown,
        "highlighted": _highlighted(shown),
        "all_inputs": inputs,
        "varied": {each.key for each in varied},
        "address": visit.request.url.path,
    }


def _files(visit: Visit, run: Run, own: Mapping[str, str]) -> dict[str, Any]:
    """A run's files as a program names them: URLs as they were sent, values of headers from the environment; stored
    ones only where the account's own file of that name is not the same."""
    base_url, found = visit.context.base_url(visit.request), dict[str, Any]()
    for path, source in run.files.items():
        if "blob" in source:
            if own.get(path) != source["blob"]:
                found[path] = f"{base_url}{API_PREFIX}/view/workflows/{run.workflow_id}/run/{run.id}{path}"
        elif "headers" in source:
            secret = {name: Variable(_environment_name(name), secret=True) for name in source["headers"]}
            found[path] = {**source, "headers": secret}
        else:
            found[path] = source["url"] if set(source) == {"url"} else source
    return found


def _environment_name(header: str) -> str:
    return "FILE_" + "".join(letter if letter.isalnum() else "_" for letter in header).upper()


def _highlighted(snippet: Snippet) -> Markup:
    return Markup(highlight(snippet.text, get_lexer_by_name(snippet.language), _FORMAT))  # noqa: S704  escaped by it
