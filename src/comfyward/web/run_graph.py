"""A run's graph in both forms, as the graph of a workflow, and the files that it has."""

from __future__ import annotations

import msgspec

from comfyward.runs.files import Stored, Url, source_from_row
from comfyward.runs.run import Run
from comfyward.store.rows import text_of
from comfyward.workflows.workflow import Workflow


def workflow_of(run: Run, name: str) -> Workflow:
    """The workflow that would have a run's graph, in the run's environment."""
    return Workflow(
        id=run.workflow_id,
        account_id=run.account_id,
        name=name,
        created_at=run.created_at,
        updated_at=run.created_at,
        graph=run.prompt,
        editor_graph=editor_graph_of(run),
        environment=run.environment_name,
    )


def files_of(run: Run) -> dict[str, Url | Stored]:
    """The files of a run by path, also those that its account has no more: it has them when it is repeated."""
    return {path: source_from_row(row) for path, row in run.files.items()}


def editor_graph_of(run: Run) -> str | None:
    """The JSON of the editor's form, which is there if the run was submitted by an editor."""
    extra = msgspec.json.decode(run.extra_data) if run.extra_data else {}
    info = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    editor_graph = info.get("workflow") if isinstance(info, dict) else None
    is_graph = isinstance(editor_graph, dict) and bool(editor_graph.get("nodes"))
    return text_of(editor_graph) if is_graph else None
