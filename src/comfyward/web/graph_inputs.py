"""The inputs of graphs, with what an account can choose for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from comfyward.dispatch.bindings import Bindings
from comfyward.dispatch.inventory import Inventory, Pool
from comfyward.store import files
from comfyward.store.db import Database
from comfyward.workflows.graph import parse_graph, told_apart
from comfyward.workflows.inputs import Input, chosen, inputs_of, shown_by_default, with_missing
from comfyward.workflows.listing import Paths
from comfyward.workflows.workflow import Workflow

MAX_CHOICES = 2000


class GraphInputs:
    def __init__(self, db: Database, inventory: Inventory, bindings: Bindings) -> None:
        self._db, self._inventory, self._bindings = db, inventory, bindings

    async def of(
        self, account_id: str, graph: str | None, run_files: Iterable[str] = (), *, environment: str = ""
    ) -> list[Input]:
        """Every input of a graph. `run_files` are paths that can be chosen besides the account's files."""
        if graph is None:
            return []
        catalog = await self._bindings.catalog_lately(environment)
        return inputs_of(parse_graph(msgspec.json.decode(graph)), catalog, await self._usable(account_id, run_files))

    async def pools(self) -> list[Pool]:
        """The pools that a run can be sent to."""
        return await self._inventory.pools()

    async def form(self, workflow: Workflow) -> dict[str, Any]:
        """The values of the form's template for a workflow."""
        account_id, graph, environment = workflow.account_id, workflow.graph, workflow.environment
        inputs = await self.of(account_id, graph, environment=environment)
        return {
            "inputs": with_missing(form_inputs(workflow, inputs), inputs),
            "action": f"/workflows/{workflow.id}/run",
            "form_pools": await self.pools(),
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
