"""ComfyUI's JSON for runs: queue items, history entries, jobs (source: ComfyUI's server.py and execution.py).

A run's files are named inside the run, as in ComfyUI; its id is the subfolder that keeps names of two runs apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from comfyward.dispatch.intake import Submitted
from comfyward.runs.run import Run, State
from comfyward.workflows.catalog import Catalog

JOB_STATES = {
    "pending": (State.QUEUED, State.ASSIGNED),  # one whose files are being fetched has not begun
    "in_progress": (State.RUNNING,),
    "completed": (State.SUCCEEDED,),
    "failed": (State.FAILED,),
    "cancelled": (State.CANCELLED,),
}
JOB_STATUS = {state: status for status, states in JOB_STATES.items() for state in states}


def queue_item(run: Run, catalog: Catalog | None) -> list[Any]:
    """[number, prompt_id, prompt, extra_data, outputs_to_execute]: clients unpack five."""
    extra_data = {
        **(msgspec.json.decode(run.extra_data) if run.extra_data else {}),
        "create_time": run.created_at,
        **({"client_id": run.client_id} if run.client_id else {}),
    }
    return [number_of(run), run.prompt_id, msgspec.Raw(run.prompt.encode()), extra_data, _outputs_of(run, catalog)]


def number_of(run: Run | Submitted) -> int:
    """ComfyUI's queue number: smaller runs sooner, negative for what was put in front."""
    return -run.created_at if run.priority > 0 else run.created_at


def is_in_history(run: Run) -> bool:
    """Whether ComfyUI's history holds a run: it is over, it began (or failed), and nobody has cleared it."""
    if not run.state.is_final or run.history_cleared_at is not None:
        return False
    return run.state is not State.CANCELLED or run.started_at is not None


def history_entry(run: Run, catalog: Catalog | None) -> dict[str, Any]:
    shown = shown_of(run)
    succeeded = run.state is State.SUCCEEDED
    return {
        "prompt": queue_item(run, catalog),
        "outputs": shown["outputs"],
        "status": {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": messages_of(run),
        },
        "meta": shown["meta"],
    }


def messages_of(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """The messages that ComfyUI's history keeps of a prompt."""
    began = run.started_at or run.created_at
    messages: list[tuple[str, dict[str, Any]]] = [
        ("execution_start", {"prompt_id": run.prompt_id, "timestamp": began}),
        ("execution_cached", {"nodes": [], "prompt_id": run.prompt_id, "timestamp": began}),
    ]
    return [*messages, ending_of(run)]


def ending_of(run: Run) -> tuple[str, dict[str, Any]]:
    """(type, data) of the message that ends a final run."""
    about: dict[str, Any] = {"prompt_id": run.prompt_id, "timestamp": run.finished_at or run.updated_at}
    failure = run.failure or {}
    node: dict[str, Any] = {
        "node_id": failure.get("node_id"),
        "node_type": failure.get("node_type"),
        "executed": failure.get("executed") or [],
    }
    match run.state:
        case State.SUCCEEDED:
            return "execution_success", about
        case State.CANCELLED:
            return "execution_interrupted", {**about, **node}
        case _:
            return "execution_error", {
                **about,
                **node,
                "exception_message": failure.get("message") or "The run failed.",
                "exception_type": failure.get("exception_type") or str(run.end_reason),
                "traceback": failure.get("traceback") or [],
                "current_inputs": failure.get("current_inputs") or {},
                "current_outputs": failure.get("current_outputs") or [],
            }


def shown_of(run: Run) -> dict[str, Any]:
    """What ComfyUI's history holds of the run's results, with file names that are unique in the account."""
    shown = msgspec.json.decode(run.shown) if run.shown else {}
    outputs = {node: placed(result, run.id) for node, result in (shown.get("outputs") or {}).items()}
    return {"outputs": outputs, "meta": shown.get("meta") or {}}


def job(run: Run) -> dict[str, Any]:
    """A job of ComfyUI's newer /api/jobs."""
    outputs = shown_of(run)["outputs"]
    files = [(node, kind, item) for node, result in outputs.items() for kind, item in _files(result)]
    first = next((found for found in files if found[2].get("type") == "output"), files[0] if files else None)
    return {
        "id": run.prompt_id,
        "status": JOB_STATUS[run.state],
        "priority": number_of(run),
        "create_time": run.created_at,
        "execution_start_time": run.started_at,
        "execution_end_time": run.finished_at,
        "execution_error": ending_of(run)[1] if run.state is State.FAILED else None,
        "outputs_count": len(files),
        "previewable_outputs_count": len(files),
        "preview_output": {**first[2], "nodeId": first[0], "mediaType": first[1]} if first else None,
        "workflow_id": run.workflow_id,
    }


def job_detail(run: Run) -> dict[str, Any]:
    return {
        **job(run),
        "outputs": shown_of(run)["outputs"],
        "execution_status": {"status_str": JOB_STATUS[run.state], "messages": messages_of(run)}
        if run.state.is_final
        else None,
        "workflow": {
            "prompt": msgspec.Raw(run.prompt.encode()),
            "extra_data": msgspec.json.decode(run.extra_data) if run.extra_data else {},
        },
    }


def cloud_status(run: Run) -> dict[str, Any]:
    """The status of a job in Comfy Cloud's older API."""
    status = JOB_STATUS[run.state]
    return {
        "id": run.prompt_id,
        "status": "error" if status == "failed" else status,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "error_message": (run.failure or {}).get("message"),
    }


def placed(result: Any, run_id: str) -> Any:
    """A node's results, with the run's id in front of the subfolder of each file."""
    if not isinstance(result, Mapping):
        return result
    return {key: _placed_values(values, run_id) for key, values in result.items()}


def _placed_values(values: Any, run_id: str) -> Any:
    if not isinstance(values, list):
        return values
    return [
        {**item, "subfolder": "/".join(part for part in (run_id, item.get("subfolder")) if part)}
        if isinstance(item, dict) and "filename" in item and item.get("type") in ("output", "temp")
        else item
        for item in values
    ]


def _files(result: Any) -> list[tuple[str, dict[str, Any]]]:
    """(media type, file) of each file that a node shows."""
    if not isinstance(result, Mapping):
        return []
    return [
        (kind, item)
        for kind, items in result.items()
        if isinstance(items, list)
        for item in items
        if isinstance(item, dict) and "filename" in item
    ]


def _outputs_of(run: Run, catalog: Catalog | None) -> list[str]:
    """The ids of the graph's output nodes."""
    if catalog is None:
        return []
    prompt = msgspec.json.decode(run.prompt)
    return [
        node_id for node_id, node in prompt.items() if catalog.nodes.get(node.get("class_type"), {}).get("output_node")
    ]
