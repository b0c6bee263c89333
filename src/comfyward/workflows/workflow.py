"""A workflow: a saved, named graph, and the place of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Workflow:
    """A workflow's row. Graphs are JSON text, exactly as they were sent.

    `form` is the JSON list of the inputs in its form; None for the default ones. `parent_workflow_id` is the workflow
    that it was copied from.
    """

    id: str
    account_id: str
    name: str
    created_at: int
    updated_at: int
    description: str | None = None
    graph: str | None = None
    editor_graph: str | None = None
    tags: list[str] = field(default_factory=list)
    visibility: str = "PRIVATE"  # or "PUBLIC"
    accelerator: str | None = None
    form: str | None = None
    parent_workflow_id: str | None = None
    is_default: bool = False
    current_run_id: str | None = None
    deleted_at: int | None = None
    in_trials: bool = False  # revisions of its environment that are tried repeat its last good run
    environment: str = ""  # "portraits" follows the current revision, "portraits@7" stays; "" is the default one
