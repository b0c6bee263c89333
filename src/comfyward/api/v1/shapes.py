"""The JSON of v1: ComfyICU's run and workflow objects, field by field, with fields of our own beside them.

(Source: ComfyICU's public examples and captured responses. `output` is a list on success and an object on failure.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.requests import Request

from comfyward.api.auth import Auth
from comfyward.api.public_url import API_PREFIX, PublicUrl
from comfyward.api.times import iso
from comfyward.files.pictures import has_thumbnail
from comfyward.runs.address import without_login
from comfyward.runs.failure import Failure
from comfyward.runs.output import Output
from comfyward.runs.run import DEFAULT_ENVIRONMENT, Run, State
from comfyward.store.webhooks import Delivery
from comfyward.workflows.workflow import Workflow

NULL = msgspec.Raw(b"null")


@dataclass(frozen=True)
class Rendering:
    """Makes the shapes for the client behind a request."""

    auth: Auth
    public_url: PublicUrl

    def of(self, request: Request) -> Shapes:
        return Shapes(self.auth, functools.partial(self.public_url.of, request))


class Shapes:
    """Renders rows for one client: URLs in them are absolute and signed.

    `base_url` returns the server's address without a slash at the end. It is asked only for rows with URLs in them.
    """

    def __init__(self, auth: Auth, base_url: Callable[[], str]) -> None:
        self._auth, self._base_url = auth, base_url

    def run(self, run: Run) -> dict[str, Any]:
        """The run object, for GET run, lists and webhooks."""
        failure, outputs = run.failure, self._outputs(run)
        return {
            "id": run.id,
            "workflow_id": run.workflow_id,
            "name": None,
            "kind": "comfyui",
            "status": run.status,
            "run_time": run.run_time_ms,
            "device": run.device,
            "accelerator": run.accelerator,
            "retry_count": max(0, run.attempt - 1),
            "created_at": iso(run.created_at),
            "started_at": iso(run.started_at),
            "completed_at": iso(run.finished_at),
            "updated_at": iso(run.updated_at),
            "deleted_at": iso(run.deleted_at),
            "data": {
                "prompt": msgspec.Raw(run.prompt.encode()),
                "extra_data": msgspec.Raw(run.extra_data.encode()) if run.extra_data else {},
                "accelerator": run.accelerator,
            },
            "workflow": None,
            "workflow_api": None,
            "files": {path: self._file(run, path, source) for path, source in run.files.items()},
            "error": _error(run) if failure else None,
            "output": _failed_output(run) if failure else outputs,
            "outputs": outputs,
            "tags": run.tags,
            "view_count": 0,
            "download_count": 0,
            "is_nsfw": False,
            "visibility": "PRIVATE",
            "parent_workflow_id": None,
            "parent_run_id": None,
            "api_key_id": run.api_key_id,
            "client_agent": None,
            "webhook": without_login(run.webhook) if run.webhook else None,
            "project_id": None,
            "user_id": run.account_id,
            "user": None,
            "metadata": run.metadata,
            "end_reason": run.end_reason,
            "pool": run.pool,
            "environment": run.environment_name or DEFAULT_ENVIRONMENT,
            "environment_revision": run.environment_revision or None,
            "attempt": run.attempt,
            "worker_id": run.worker_id,
            "priority": run.priority,
            "timeout": run.timeout_s,
            "cancel_requested_at": iso(run.cancel_requested_at),
            "queue_time": _between(run.created_at, run.started_at or run.finished_at),
            "prompt_id": run.prompt_id,
        }

    def run_json(self, run: Run) -> bytes:
        return msgspec.json.encode(self.run(run))

    def workflow(self, workflow: Workflow) -> dict[str, Any]:
        """The workflow object."""
        return {
            "id": workflow.id,
            "name": workflow.name,
            "description": workflow.description,
            "created_at": iso(workflow.created_at),
            "updated_at": iso(workflow.updated_at),
            "deleted_at": iso(workflow.deleted_at),
            "tags": workflow.tags,
            "is_nsfw": False,
            "visibility": workflow.visibility,
            "user_id": workflow.account_id,
            "current_run_id": workflow.current_run_id,
            "models": None,
            "accelerator": workflow.accelerator,
            "environment": workflow.environment or DEFAULT_ENVIRONMENT,
            "project_id": None,
            "featuredImages": [],
            "is_default": workflow.is_default,
            "in_trials": workflow.in_trials,
            "parent_workflow_id": workflow.parent_workflow_id,
            "prompt": _raw(workflow.graph),
        }

    def whole_workflow(self, workflow: Workflow) -> dict[str, Any]:
        """The workflow object with the editor's form of its graph, which lists leave out: it is large."""
        return {**self.workflow(workflow), "workflow": _raw(workflow.editor_graph)}

    def delivery(self, delivery: Delivery) -> dict[str, Any]:
        """A webhook delivery, for the log of deliveries."""
        return {
            **{name: getattr(delivery, name) for name in ("id", "run_id", "event", "state", "attempts")},
            "url": without_login(delivery.url),
            "last_status": delivery.last_status,
            "last_answer": delivery.last_answer,
            "created_at": iso(delivery.created_at),
            "next_attempt_at": iso(delivery.next_attempt_at),
            "finished_at": iso(delivery.finished_at),
        }

    def link(self, path: str) -> str:
        """An absolute URL that works without a key."""
        return f"{self._base_url()}{quote(path)}?sig={self._auth.signature(path)}"

    def _outputs(self, run: Run) -> list[dict[str, Any]]:
        """The outputs so far; marked as partial if the run has ended without success."""
        is_partial = run.state.is_final and run.state is not State.SUCCEEDED
        mark = {"partial": True} if is_partial else {}
        return [{**self._output_file(run, output), **mark} for output in run.outputs]

    def _output_file(self, run: Run, output: Output) -> dict[str, Any]:
        filename = f"/workflows/{run.workflow_id}/output/{run.id}/{output.name}"
        thumbnail = f"/workflows/{run.workflow_id}/thumbnail/{run.id}/{output.name}"
        entry = {
            "filename": filename,
            "url": self.link(f"{API_PREFIX}/view{filename}"),
            "thumbnail_url": self.link(f"{API_PREFIX}/view{thumbnail}") if has_thumbnail(output.content_type) else None,
            "size": output.size,
            "content_type": output.content_type,
            "digest": f"blake3:{output.digest}",
            "node_id": output.node_id,
        }
        if output.text is not None:
            entry["text"] = output.text
        return entry

    def _file(self, run: Run, path: str, source: dict[str, Any]) -> Any:
        """The source as it was sent; stored bytes as a link, headers without their values, which may be secrets."""
        if "blob" in source:
            return self.link(f"{API_PREFIX}/view/workflows/{run.workflow_id}/run/{run.id}{path}")
        if set(source) == {"url"}:
            return source["url"]
        return {**source, "headers": dict.fromkeys(source["headers"], "***")} if "headers" in source else source


def _failed_output(run: Run) -> dict[str, Any]:
    error = {"error": _comfyui_error(run)}
    return {**error, "output": error}


def _between(start_ms: int, end_ms: int | None) -> int | None:
    return None if end_ms is None else end_ms - start_ms


def _error(run: Run) -> dict[str, Any]:
    """The top-level `error`, which ComfyICU leaves null: the reason of the failure, and a hint."""
    failure = run.failure or Failure("")
    details = failure.facts
    return {
        "code": run.end_reason,
        "message": failure.message,
        "hint": failure.hint,
        "node_id": failure.node_id or None,
        "node_type": failure.node_type or None,
        "exception_type": failure.exception_type or None,
        "traceback": failure.traceback or [],
        "node_errors": details.get("node_errors") or {},
        "details": {key: value for key, value in details.items() if key not in ("error", "node_errors")},
    }


def _comfyui_error(run: Run) -> dict[str, Any]:
    """`output.error` in the shape of ComfyICU's captured failures."""
    failure = run.failure or Failure("")
    details = failure.facts
    return {
        "exception_type": failure.exception_type or run.end_reason,
        "exception_message": failure.message,
        "prompt_id": run.id,
        "traceback": failure.traceback or [],
        "node_id": failure.node_id or None,
        "node_type": failure.node_type or None,
        "details": {"error": details.get("error"), "node_errors": details.get("node_errors") or {}},
    }


def _raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw(text.encode()) if text else NULL
