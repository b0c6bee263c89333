"""API code: programs that submit a workflow or a run again, with chosen inputs as variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from starlette.responses import Response

from comfyward.api.public_url import API_PREFIX
from comfyward.dispatch.conversion import SavedGraphs
from comfyward.runs.address import without_login
from comfyward.runs.run import Run
from comfyward.store import files, runs, workflows
from comfyward.store.db import Database
from comfyward.web.graph_inputs import GraphInputs
from comfyward.web.page import Page
from comfyward.web.page_request import PageRequest
from comfyward.web.problems import PageError
from comfyward.web.snippets import Recipe, Snippet, Variable, snippets, variable_names
from comfyward.workflows.inputs import chosen, with_values

_FORMAT = HtmlFormatter(nowrap=True)
DEFAULT_LANGUAGE = "curl"


class ApiCode:
    def __init__(self, db: Database, inputs: GraphInputs, graphs: SavedGraphs) -> None:
        self._db, self._inputs, self._graphs = db, inputs, graphs

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/workflows/{workflow_id}/api", self.show_of_workflow, "API code of a workflow"),
            Page("GET", "/runs/{run_id}/api", self.show_of_run, "API code of a run, with its files and webhook"),
        ]

    async def show_of_workflow(self, request: PageRequest) -> Response:
        workflow = await self._db.lookup(workflows.get, request.account.id, request["workflow_id"])
        workflow = await self._graphs.completed(workflow)
        if workflow.graph is None:
            raise PageError(
                "This workflow has nothing to run yet.", hint="Open it in the editor; changes are saved automatically."
            )
        values = await self._values(request, workflow.id, workflow.graph, accelerator=workflow.accelerator)
        if request.is_partial:
            return request.render("code.part.html", **values)
        return request.render("code.html", **values, workflow=workflow, run=None, tab="api")

    async def show_of_run(self, request: PageRequest) -> Response:
        run = await self._db.lookup(runs.get, request.account.id, request["run_id"])
        own = {file.path: file.digest for file in await self._db.read(files.at, run.account_id, list(run.files))}
        stored = {path: source["blob"] for path, source in run.files.items() if "blob" in source}
        values = await self._values(
            request,
            run.workflow_id,
            run.prompt,
            files=_files(run, own, request.base_url),
            stored={path: digest for path, digest in stored.items() if own.get(path) != digest},
            accelerator=run.accelerator,
            webhook=without_login(run.webhook) if run.webhook else None,
        )
        if request.is_partial:
            return request.render("code.part.html", **values)
        name = (await self._db.read(workflows.names, request.account.id)).get(run.workflow_id, "")
        return request.render("code.html", **values, workflow=None, run=run, name=name)

    async def _values(self, request: PageRequest, workflow_id: str, graph: str, **recipe: Any) -> dict[str, Any]:
        inputs = await self._inputs.of(request.account.id, graph)
        varied = chosen(inputs, request.http.query_params.getlist("vary"))
        names = variable_names([(each.key, each.name, each.node) for each in varied])
        prompt = with_values(msgspec.json.decode(graph), [(each, Variable(names[each.key])) for each in varied])
        values = {names[each.key]: each.value for each in varied}
        all_snippets = snippets(Recipe(request.base_url, workflow_id, prompt, values, **recipe))
        language = request.query("language", DEFAULT_LANGUAGE)
        shown = next((snippet for snippet in all_snippets if snippet.id == language), all_snippets[0])
        return {
            "snippets": all_snippets,
            "shown": shown,
            "highlighted": _highlighted(shown),
            "all_inputs": inputs,
            "varied": {each.key for each in varied},
            "address": request.http.url.path,
        }


def _files(run: Run, own: Mapping[str, str], base_url: str) -> dict[str, Any]:
    """A run's files as a program submits them: by URL, with values of headers from the environment.

    Stored files are left out if the account (`own`: digests by path) has the same file under the same name.
    """
    found = dict[str, Any]()
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
    return Markup(highlight(snippet.text, get_lexer_by_name(snippet.language), _FORMAT))  # noqa: S704  Pygments escapes it
