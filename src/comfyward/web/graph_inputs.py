"""The inputs of graphs, with what an account can choose for them, and what a graph still lacks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from comfyward.accounts.account import Account
from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.inventory import Inventory
from comfyward.dispatch.wanting import Wanting
from comfyward.environments.wanted import Wanted
from comfyward.errors import InvalidGraph
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.web.problems import Advice, advices, on_problems
from comfyward.workflows.graph import parse_graph, told_apart
from comfyward.workflows.inputs import Input, chosen, inputs_of, shown_by_default, with_missing
from comfyward.workflows.listing import Paths
from comfyward.workflows.needs import model_urls
from comfyward.workflows.offer import Offers
from comfyward.workflows.starters import MODEL_URLS
from comfyward.workflows.validation import check
from comfyward.workflows.workflow import Workflow

MAX_CHOICES = 2000


class GraphInputs:
    def __init__(self, db: Database, inventory: Inventory, bindings: Bindings, wanting: Wanting) -> None:
        self._db, self._inventory, self._bindings, self._wanting = db, inventory, bindings, wanting

    async def of(
        self, account_id: str, graph: str | None, run_files: Iterable[str] = (), *, environment: str = ""
    ) -> list[Input]:
        """Every input of a graph. `run_files` are paths that can be chosen besides the account's files."""
        if graph is None:
            return []
        catalog = await self._bindings.catalog_lately(environment)
        return inputs_of(parse_graph(msgspec.json.decode(graph)), catalog, await self._usable(account_id, run_files))

    async def are_models_known(self) -> bool:
        """False until a worker has told what is installed."""
        return await self._bindings.catalog_lately() is not None

    async def lacking(
        self,
        account: Account,
        graph: str | None,
        editor_graph: str | None = None,
        workflow_id: str | None = None,
        environment: str = "",
    ) -> list[Advice]:
        """The problems to solve before a graph can run. Files that are yet to be chosen do not count.

        `workflow_id` is the workflow whose editor the account can open, if there is one.
        """
        catalog = await self._bindings.catalog_lately(environment)
        if graph is None or catalog is None:
            return []
        try:
            parsed = parse_graph(msgspec.json.decode(graph))
            offers = await self._wanting.offers(account.id, parsed, catalog, editor_graph)
            verdict = check(parsed, catalog, await self._usable(account.id))
        except InvalidGraph as error:
            return advices(error, workflow_id)
        facts = [each | _packs(each, offers) for each in with_urls(verdict.facts(), editor_graph)]
        found = [each for each in facts if each["folder"] is None or each["received"]]
        return on_problems(found, workflow_id, is_admin=account.is_admin)

    async def form(self, account: Account, workflow: Workflow) -> dict[str, Any]:
        """The values of the form's template for a workflow."""
        account_id, graph, environment = workflow.account_id, workflow.graph, workflow.environment
        inputs = await self.of(account_id, graph, environment=environment)
        lacking = await self.lacking(account, graph, workflow.editor_graph, workflow.id, environment)
        return {
            "inputs": with_missing(form_inputs(workflow, inputs), inputs),
            "lacking": lacking,
            "wanted": await self._wanting.of(workflow) if lacking else Wanted(),
            "action": f"/workflows/{workflow.id}/run",
            "form_pools": await self._inventory.pools(),
            "accelerator": workflow.accelerator,
            "version": workflow.updated_at,
            "max_choices": MAX_CHOICES,
        }

    async def _usable(self, account_id: str, run_files: Iterable[str] = ()) -> Paths:
        return Paths([*await self._db.read(files.usable_paths, account_id), *run_files])


def form_inputs(workflow: Workflow, inputs: list[Input]) -> list[Input]:
    """The inputs that a workflow's form shows, with the labels that its owner chose."""
    if workflow.form is None:
        return shown_by_default(inputs)
    labels: Mapping[str, str] = {each["key"]: each["label"] for each in msgspec.json.decode(workflow.form)}
    found = chosen(inputs, labels)
    if not found:  # the graph has changed since
        return shown_by_default(inputs)
    shown = told_apart([labels[each.key] or each.label for each in found])
    return [replace(each, label=label) for each, label in zip(found, shown, strict=True)]


def _packs(facts: Mapping[str, Any], offers: Offers) -> dict[str, Any]:
    found = offers.get(str(facts.get("class_type"))) if facts["type"] == "missing_node_type" else None
    return {"packs": [offer.facts() for offer in found]} if found else {}


def with_urls(problems: Iterable[Mapping[str, Any]], editor_graph: str | None) -> list[dict[str, Any]]:
    """Adds `url` to problems of a graph: where to download a missing model, if the graph or a starter says so."""
    urls = MODEL_URLS | model_urls(msgspec.json.decode(editor_graph) if editor_graph else None)
    return [{**facts, "url": urls.get(str(facts.get("received")))} for facts in problems]
