"""ComfyUI's JSON for runs: queue items and history entries (source: ComfyUI's server.py and execution.py).

A run's files are named inside the run, as in ComfyUI; its id is the subfolder that keeps names of two runs apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from comfyward.dispatch.intake import Submitted
from comfyward.runs.failure import Failure
from comfyward.runs.run import LEASED_STATES, Run, State
from comfyward.store.run_parts import Outline
from comfyward.workflows.catalog import Catalog

JOB_STATES = {
    "pending": (State.QUEUED, State.ASSIGNED),  # a run whose files are being fetched is not executed yet
    "in_progress": (State.RUNNING,),
    "completed": (State.SUCCEEDED,),
    "failed": (State.FAILED,),
    "cancelled": (State.CANCELLED,),
}
UNFINISHED_STATES = (State.QUEUED, *LEASED_STATES)
JOB_STATUS = {state: status for status, states in JOB_STATES.items() for state in states}


def queue_item(run: Run, catalog: Catalog | None, number: int | None = None) -> list[Any]:
    """[number, prompt_id, prompt, extra_data, outputs_to_execute]: clients unpack five."""
    number = number_of(run) if number is None else number
    return [number, run.prompt_id, msgspec.Raw(run.prompt.encode()), extra_data_of(run), _outputs_of(run, catalog)]


def extra_data_of(run: Run) -> dict[str, Any]:
    """The data that came beside a prompt, and those that ComfyUI adds."""
    return {
        **(msgspec.json.decode(run.extra_data) if run.extra_data else {}),
        "create_time": run.created_at,
        **({"client_id": run.client_id} if run.client_id else {}),
    }


def rising_numbers(ordered: Iterable[Outline]) -> Iterator[int]:
    """The numbers of runs in the order in which they start; clients sort by them, so each is above the one before."""
    last: int | None = None
    for run in ordered:
        last = number_of(run) if last is None else max(number_of(run), last + 1)
        yield last


def number_of(run: Run | Submitted | Outline) -> int:
    """ComfyUI's queue number: the smallest runs first, and runs that were put in front have negative ones."""
    return -run.created_at if run.priority > 0 else run.created_at


def is_in_history(run: Run) -> bool:
    """True if ComfyUI's history holds a run: it has ended, it was executed (or failed), and nobody has cleared it."""
    if not run.state.is_final or run.history_cleared_at is not None:
        return False
    return run.state is not State.CANCELLED or run.started_at is not None


def history_entry(run: Run, catalog: Catalog | None) -> dict[str, Any]:
    results = node_results_of(run)
    return {
        "prompt": queue_item(run, catalog),
        "outputs": results["outputs"],
        "status": execution_status(run),
        "meta": results["meta"],
    }


def execution_status(run: Run) -> dict[str, Any]:
    """The end of a prompt as ComfyUI's history describes it."""
    succeeded = run.state is State.SUCCEEDED
    return {
        "status_str": "success" if succeeded else "error",
        "completed": succeeded,
        "messages": messages_of(run),
    }


def messages_of(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """The messages about a prompt in ComfyUI's history."""
    began = run.started_at or run.created_at
    messages: list[tuple[str, dict[str, Any]]] = [
        ("execution_start", {"prompt_id": run.prompt_id, "timestamp": began}),
        ("execution_cached", {"nodes": [], "prompt_id": run.prompt_id, "timestamp": began}),
    ]
    return [*messages, ending_of(run)]


def ending_of(run: Run) -> tuple[str, dict[str, Any]]:
    """(type, data) of the message that ends a final run."""
    about: dict[str, Any] = {"prompt_id": run.prompt_id, "timestamp": run.finished_at or run.updated_at}
    failure = run.failure or Failure("")
    node: dict[str, Any] = {
        "node_id": failure.node_id or None,
        "node_type": failure.node_type or None,
        "executed": failure.executed or [],
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
                "exception_message": failure.message or "The run failed.",
                "exception_type": failure.exception_type or str(run.end_reason),
                "traceback": failure.traceback or [],
                "current_inputs": failure.current_inputs or {},
                "current_outputs": failure.current_outputs or [],
            }


def node_results_of(run: Run) -> dict[str, Any]:
    """{outputs, meta} of nodes in ComfyUI's history: files that exist, under names that are unique in the account."""
    results = msgspec.json.decode(run.node_results) if run.node_results else {}
    stored = {node: _stored(result, run) for node, result in (results.get("outputs") or {}).items()}
    outputs = {node: in_run_folder(result, run.id) for node, result in stored.items()}
    return {"outputs": outputs, "meta": results.get("meta") or {}}


def subfolder_of(run_id: str, subfolder: object) -> str:
    """A subfolder of the run, as a subfolder of the account."""
    return "/".join(part for part in (run_id, str(subfolder or "").strip("/")) if part)


def cloud_status(run: Run) -> dict[str, Any]:
    """The status of a job in Comfy Cloud's older API."""
    status = JOB_STATUS[run.state]
    return {
        "id": run.prompt_id,
        "status": "error" if status == "failed" else status,
        "created_at": run.created_at,
        "updated_at": run.updated_at,
        "error_message": run.failure.message if run.failure else None,
    }


def in_run_folder(result: Any, run_id: str) -> Any:
    """A node's results, with the run's id prefixed to the subfolder of each file."""
    return _with_items(result, lambda item: [{**item, "subfolder": subfolder_of(run_id, item.get("subfolder"))}])


def _stored(result: Any, run: Run) -> Any:
    """A node's results without the files that are not stored."""
    return _with_items(result, lambda item: [item] if _is_stored(run, item) else [])


def _with_items(result: Any, change: Callable[[dict[str, Any]], list[Any]]) -> Any:
    """A node's results, with each of its files replaced."""
    if not isinstance(result, Mapping):
        return result
    return {
        key: [each for value in values for each in (change(value) if _is_file(value) else [value])]
        if isinstance(values, list)
        else values
        for key, values in result.items()
    }


def _is_file(item: Any) -> bool:
    """True for a file of the run, an output or a preview."""
    return isinstance(item, dict) and "filename" in item and item.get("type") in ("output", "temp")


def _is_stored(run: Run, item: Mapping[str, Any]) -> bool:
    """False for a preview that is gone: they are stored for a day, and only for clients of ComfyUI's own API."""
    folder = str(item.get("subfolder") or "").strip("/")
    name = f"{folder}/{item['filename']}" if folder else str(item["filename"])
    return run.file(item["type"], name) is not None


def _outputs_of(run: Run, catalog: Catalog | None) -> list[str]:
    """The ids of the graph's output nodes."""
    if catalog is None:
        return []
    prompt = msgspec.json.decode(run.prompt)
    return [
        node_id for node_id, node in prompt.items() if catalog.nodes.get(node.get("class_type"), {}).get("output_node")
    ]
