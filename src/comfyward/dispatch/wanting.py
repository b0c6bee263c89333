"""Packs that workflows want: found for one, asked for by members, accepted or declined by admins."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import drafts
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.heavy import HEAVY
from comfyward.environments.finding.finder import Finder
from comfyward.environments.wanted import Wanted, wanted_from, wanted_json
from comfyward.errors import Conflict, InvalidGraph
from comfyward.store import pack_requests
from comfyward.store.pack_requests import ACCEPTED, DECLINED
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.graph import Graph, parse_graph
from comfyward.workflows.noted import noted_in
from comfyward.workflows.offer import Offers
from comfyward.workflows.workflow import Workflow

REGISTRY_PATIENCE_S = 1.0  # a page does not wait longer


class Wanting:
    """Finds the packs and versions that a workflow's environment lacks and another one could have."""

    def __init__(self, bindings: Bindings, finder: Finder) -> None:
        self._bindings, self._finder = bindings, finder

    async def of(self, workflow: Workflow) -> Wanted:
        """All that is known of; nothing before a worker has told what is installed."""
        catalog = await self._bindings.catalog_lately(workflow.environment)
        if workflow.graph is None or catalog is None:
            return Wanted()
        try:
            parsed = parse_graph(msgspec.json.decode(workflow.graph))
        except InvalidGraph:
            return Wanted()
        return Wanted.of(await self.offers(workflow.account_id, parsed, catalog, workflow.editor_graph))

    async def needed(self, workflow: Workflow) -> Wanted:
        """The same. Raises Conflict if nothing is known that can be added."""
        wanted = await self.of(workflow)
        if not wanted:
            raise Conflict("Nothing is missing that an environment could have.")
        return wanted

    async def offers(self, account_id: str, graph: Graph, catalog: Catalog, editor_graph: str | None) -> Offers:
        """The offers for the classes that are missing here, by the notes in the editor's form of the graph too."""
        missing = list({node.class_type: None for node in graph.nodes.values() if not catalog.has(node.class_type)})
        if not missing:
            return {}
        noted = await HEAVY.run(account_id, len(editor_graph or ""), lambda: noted_in(editor_graph))
        return await self._finder.find(account_id, missing, noted, REGISTRY_PATIENCE_S)


def ask(conn: Connection, workflow: Workflow, wanted: Wanted, now: int) -> str:
    """Asks the admins for what a workflow wants. Returns the id of the request. Raises Conflict."""
    asked = (workflow.account_id, workflow.id, wanted_json(wanted), wanted.comfyui)
    return pack_requests.ask(conn, *asked, now)


def accept(conn: Connection, request_id: str, into: str, now: int) -> str:
    """Makes a draft of what was asked for. Returns its environment. Raises NotFound, Conflict, InvalidEnvironment."""
    found = pack_requests.get(conn, request_id)
    name = drafts.draft(conn, wanted_from(found.packs, found.comfyui), into, f"for {found.account}", now)
    pack_requests.decide(conn, request_id, ACCEPTED, now, environment=name)
    return name


def decline(conn: Connection, request_id: str, reply: str, now: int) -> None:
    """Raises NotFound, Conflict."""
    pack_requests.decide(conn, request_id, DECLINED, now, reply=reply)
