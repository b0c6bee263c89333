"""Copies of workflows, of one's own and of others' public ones."""

from __future__ import annotations

import msgspec

from comfyward.dispatch.bindings import Bindings
from comfyward.python_json import is_deeper
from comfyward.store import files, workflows
from comfyward.store.db import Database
from comfyward.store.rows import text_of as json_text
from comfyward.web.new_workflow import new_workflow
from comfyward.workflows.catalog import INPUT_FOLDER
from comfyward.workflows.copies import Cleaner
from comfyward.workflows.graph import MAX_DEPTH
from comfyward.workflows.workflow import Workflow

COPIED_FIELDS = ("description", "tags", "form", "accelerator", "environment")


class WorkflowCopies:
    def __init__(self, db: Database, bindings: Bindings) -> None:
        self._db, self._bindings = db, bindings

    async def create(self, account_id: str, source: Workflow, name: str) -> Workflow:
        copy = await self.of(account_id, source, name)
        await self._db.write(workflows.create, copy)
        return copy

    async def of(self, account_id: str, source: Workflow, name: str = "") -> Workflow:
        """A copy that is not stored."""
        fields = {field: getattr(source, field) for field in COPIED_FIELDS}
        graphs = await self._graphs(account_id, source)
        return new_workflow(account_id, name, parent_workflow_id=source.id, **fields, **graphs)

    async def _graphs(self, account_id: str, source: Workflow) -> dict[str, str | None]:
        """Both graphs of a workflow. For another account than its owner's, they do not name the owner's files."""
        if source.account_id == account_id:
            return {"graph": source.graph, "editor_graph": source.editor_graph}
        owners, own = [await self._db.read(files.usable_paths, each) for each in (source.account_id, account_id)]
        catalog = await self._bindings.catalog_lately(source.environment)
        cleaner = Cleaner(catalog, owners.below(INPUT_FOLDER), own.below(INPUT_FOLDER))
        # The API's graph comes first: it tells the cleaner which texts of the editor's graph are names of files.
        graph = source.graph and json_text(cleaner.graph(msgspec.json.decode(source.graph)))
        editor_graph = msgspec.json.decode(source.editor_graph) if source.editor_graph else None
        is_clean = editor_graph is not None and not is_deeper(editor_graph, MAX_DEPTH)
        return {"graph": graph, "editor_graph": json_text(cleaner.editor_graph(editor_graph)) if is_clean else None}
