"""Converts the editor's graphs to the API's, with the catalog of the environment that they are for, beside the loop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.heavy_requests import HEAVY
from comfyward.errors import InvalidGraph, TooLarge, Unavailable
from comfyward.workflows.carried import submitted
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.graph import Graph, parse_graph
from comfyward.workflows.graph_limit import GraphLimit
from comfyward.workflows.workflow import Workflow

NO_CATALOG = "No worker has told its nodes yet, and without them a workflow in the editor's format cannot be run."
WAIT = "Try again once a worker is ready, or send what File > Export (API) gives."
ALL_OFF = "Every node is muted, bypassed, or for the editor alone: turn one on that makes something."


async def converted(
    owner: str,
    editor_graph: dict[str, Any],
    limit: GraphLimit,
    catalogs: Sequence[Catalog | None],
) -> Graph:
    """The API's form of a graph, by the first of some catalogs that has its classes.

    Raises InvalidGraph, the first one's, if none has; Unavailable if none is known; TooLarge, for either form.
    """
    size = limit.size_of(editor_graph)
    refused: list[InvalidGraph] = []
    for catalog in catalogs:
        if catalog is None:
            continue
        try:
            return await HEAVY.run(owner, size, functools.partial(_converted, editor_graph, catalog, limit))
        except InvalidGraph as error:  # another worker of the pool may have what this one lacks
            refused.append(error)
    if refused:
        raise refused[0]
    raise Unavailable(NO_CATALOG, hint=WAIT)


def _converted(editor_graph: dict[str, Any], catalog: Catalog, limit: GraphLimit) -> Graph:
    graph = convert(editor_graph, catalog)
    limit.check_made(graph)  # what one definition holds, many boxes may repeat
    if not graph:
        raise InvalidGraph("The workflow has nothing to run.", hint=ALL_OFF, type="workflow_format_ui")
    return catalog.with_replacements(parse_graph(graph))


class SavedGraphs:
    """The forms of a graph that are saved with a workflow: where only the editor's is given, the API's is made of it,
    for forms on pages and programs that read it."""

    def __init__(self, bindings: Bindings, limit: GraphLimit) -> None:
        self._bindings, self._limit = bindings, limit

    async def columns(
        self, owner: str, prompt: Any, editor_graph: dict[str, Any] | None, environment: str
    ) -> dict[str, str | None]:
        """`graph` and `editor_graph` of a workflow's row, for a graph in either form and one in the editor's.

        `environment` is "" for the default one. Raises InvalidGraph, TooLarge.
        """
        size, _ = self._limit.size_of(prompt), self._limit.size_of(editor_graph)
        graph, found = (None, None) if prompt is None else await HEAVY.run(owner, size, lambda: submitted(prompt))
        editors = editor_graph if editor_graph is not None else found
        made = None if graph is None else graph.prompt
        if made is None and editors is not None:
            made = await self._made(owner, editors, environment)
        return {"graph": _text(made), "editor_graph": _text(editors)}

    async def completed(self, workflow: Workflow) -> Workflow:
        """The workflow with the API's form of its graph, if that can be made now and could not when it was saved."""
        if workflow.graph is not None or workflow.editor_graph is None:
            return workflow
        editors = msgspec.json.decode(workflow.editor_graph)
        made = await self._made(workflow.account_id, editors, workflow.environment)
        return replace(workflow, graph=_text(made))

    async def _made(self, owner: str, editor_graph: dict[str, Any], environment: str) -> dict[str, Any] | None:
        """None as long as it cannot be made: what it lacks is said when it is to run."""
        catalog = await self._bindings.catalog_lately(environment)
        try:
            return (await converted(owner, editor_graph, self._limit, [catalog])).prompt
        except (InvalidGraph, Unavailable, TooLarge):
            return None


def _text(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
