"""Converts the editor's graphs to the API's, with the catalog of the environment that they are for, beside the loop."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.heavy import HEAVY
from comfyward.errors import InvalidGraph, Unavailable
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.conversion.conversion import convert
from comfyward.workflows.graph import Graph, parse_graph

NO_CATALOG = "No worker has told its nodes yet, and without them a workflow in the editor's format cannot be run."
WAIT = "Try again once a worker is ready, or send what File > Export (API) gives."
ALL_OFF = "Every node is muted, bypassed, or for the editor alone: turn one on that makes something."


async def converted(owner: str, editor_graph: dict[str, Any], size: int, catalogs: Sequence[Catalog | None]) -> Graph:
    """The API's form of a graph of so many bytes, by the first of some catalogs that has its classes.

    Raises InvalidGraph, the first one's, if none has; Unavailable if none is known.
    """
    refused: list[InvalidGraph] = []
    for catalog in catalogs:
        if catalog is None:
            continue
        try:
            return await HEAVY.run(owner, size, functools.partial(_converted, editor_graph, catalog))
        except InvalidGraph as error:  # another worker of the pool may have what this one lacks
            refused.append(error)
    if refused:
        raise refused[0]
    raise Unavailable(NO_CATALOG, hint=WAIT)


def _converted(editor_graph: dict[str, Any], catalog: Catalog) -> Graph:
    graph = convert(editor_graph, catalog)
    if not graph:
        raise InvalidGraph("The workflow has nothing to run.", hint=ALL_OFF, type="workflow_format_ui")
    return parse_graph(graph)


class SavedForms:
    """The API's form that is saved beside the editor's, for forms on pages and programs that read it."""

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings

    async def of(self, owner: str, editor_graph: dict[str, Any], size: int, environment: str) -> dict[str, Any] | None:
        """The API's form of a graph of so many bytes in an environment ("" for the default one).

        None as long as there is none: what it lacks is said when it is to run.
        """
        catalog = await self._bindings.catalog_lately(environment)
        try:
            return (await converted(owner, editor_graph, size, [catalog])).prompt
        except (InvalidGraph, Unavailable):
            return None
