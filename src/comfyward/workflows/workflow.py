"""What a workflow is: a saved, named graph, and the place where its runs live."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workflow:
    """A workflow as the rows hold it; graphs are kept as the JSON text they came in."""

    id: str
    account_id: str
    name: str
    description: str | None
    graph: str | None
    editor_graph: str | None
    tags: list[str]
    visibility: str  # "PRIVATE" | "PUBLIC"
    accelerator: str | None
    is_default: bool
    current_run_id: str | None
    created_at: int
    updated_at: int
    deleted_at: int | None
