"""The JSON of Comfy API v2: Job, Output, Asset, Progress (source: its OpenAPI file)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from comfyward.api.auth import Auth
from comfyward.api.public_url import PublicUrl
from comfyward.api.times import iso
from comfyward.runs.event import Event, Progress
from comfyward.runs.output import Output
from comfyward.runs.run import EndReason, Run, State
from comfyward.store.files import StoredFile, file_path_of

LINK_LASTS_S = 3600
YEARS_MS = 10 * 365 * 24 * 3600 * 1000  # the specification wants a date even if runs are never deleted
DAY_MS = 24 * 3600 * 1000

_STATUS = {
    State.QUEUED: "queued",
    State.ASSIGNED: "queued",  # its files are being fetched
    State.RUNNING: "running",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "canceled",
}
_ERROR_CODES = {EndReason.NODE_ERROR: "node_execution_error", EndReason.INSUFFICIENT_CREDIT: "insufficient_credits"}
_KINDS = ("image", "video", "audio", "text")


@dataclass(frozen=True)
class Rendering:
    """Renders rows for the client of each request."""

    auth: Auth
    public_url: PublicUrl
    retention_days: float

    def of(self, request: Request) -> Shapes:
        return Shapes(self.auth, self.public_url.of(request), self.retention_days)


class Shapes:
    """Renders rows for one client: URLs are absolute, and those of contents open without a key for an hour."""

    def __init__(self, auth: Auth, base_url: str, retention_days: float) -> None:
        self._auth, self._base_url, self._retention_days = auth, base_url, retention_days

    def job(self, run: Run, progress: Mapping[str, Any] | None, queue_position: int | None) -> dict[str, Any]:
        """`progress` is the latest snapshot, if one is known."""
        own = f"{self._base_url}/api/v2/jobs/{run.prompt_id}"
        return {
            "id": run.prompt_id,
            "status": status_of(run),
            "created_at": iso(run.created_at),
            "started_at": iso(run.started_at),
            "completed_at": iso(run.finished_at),
            "expires_at": iso(self._expires_at(run)),
            "queue_position": queue_position,
            "progress": progress,
            "outputs": [self.output(run.prompt_id, output) for output in run.outputs],
            "error": error_of(run),
            "metrics": {
                "queue_ms": None if run.started_at is None else run.started_at - run.created_at,
                "execution_ms": run.run_time_ms,
            },
            "metadata": run.labels,
            "urls": {"self": own, "events": f"{own}/events", "cancel": f"{own}/cancel"},
        }

    def listed(self, run: Run) -> dict[str, Any]:
        """A job in a list."""
        return {
            "id": run.prompt_id,
            "status": status_of(run),
            "create_time": iso(run.created_at),
            "update_time": iso(run.updated_at),
            "deployment_id": None,
            "metadata": run.labels,
        }

    def output(self, job_id: str, output: Output) -> dict[str, Any]:
        return {
            "node_id": output.node_id or "",
            "name": output.name,
            "type": kind_of(output.name, output.content_type),
            "content_type": output.content_type,
            "size_bytes": output.size,
            "id": output.id,
            "hash": f"blake3:{output.digest}",
            **self._link(output.id),
            "job_id": job_id,
        }

    def asset(self, file: StoredFile, job_id: str | None, *, created_new: bool | None = None) -> dict[str, Any]:
        shape = {
            "id": file.id,
            "hash": f"blake3:{file.digest}",
            "size_bytes": file.size,
            "content_type": file.content_type,
            "file_path": file_path_of(file),
            "created_at": iso(file.created_at),
            **self._link(file.id),
            "expires_at": iso(file.expires_at),
            "job_id": job_id,
        }
        return shape if created_new is None else {**shape, "created_new": created_new}

    def _link(self, asset_id: str) -> dict[str, Any]:
        path, expires_s = f"/api/v2/assets/{asset_id}/content", int(time.time()) + LINK_LASTS_S
        signature = self._auth.signature(f"{path}?expires={expires_s}")
        return {
            "url": f"{self._base_url}{path}?expires={expires_s}&sig={signature}",
            "url_expires_at": iso(expires_s * 1000),
        }

    def _expires_at(self, run: Run) -> int:
        if not self._retention_days:
            return run.created_at + YEARS_MS
        return (run.finished_at or run.created_at) + int(self._retention_days * DAY_MS)


def status_of(run: Run) -> str:
    """JobStatus: `canceling` from the request to cancel until the run has ended."""
    if run.cancel_requested_at is not None and not run.state.is_final:
        return "canceling"
    return _STATUS[run.state]


def status_of_state(state: State) -> str:
    return _STATUS[state]


def error_of(run: Run) -> dict[str, Any] | None:
    """JobError of a run that failed."""
    if run.failure is None or run.state is not State.FAILED or run.end_reason is None:
        return None
    return {
        "code": _ERROR_CODES.get(run.end_reason, str(run.end_reason)),
        "message": run.failure.message or "The run failed.",
        "node_id": run.failure.node_id or None,
        "class_type": run.failure.node_type or None,
        "traceback": "".join(run.failure.traceback or ()) or None,
    }


def kind_of(name: str, content_type: str) -> str:
    """OutputType."""
    if name.endswith(".latent"):
        return "latent"
    kind = content_type.partition("/")[0]
    return kind if kind in _KINDS else "file"


def progress_of(run: Run, live: Sequence[Event]) -> dict[str, Any] | None:
    """The latest Progress snapshot of a run: complete if it succeeded, None before it is executed."""
    if run.state is State.SUCCEEDED:
        total = len(classes_of(run))
        return {"value": 1.0, "nodes_done": total, "nodes_total": total}
    for event in reversed(live):
        if isinstance(event.payload, Progress):
            return progress_shape(event.payload, classes_of(run))
    return None


class _Classed(msgspec.Struct):
    """A node, as far as it is read."""

    class_type: str


_GRAPH = msgspec.json.Decoder(dict[str, _Classed])


def classes_of(run: Run) -> dict[str, str]:
    """The class of each node of the run's graph."""
    return {node_id: node.class_type for node_id, node in _GRAPH.decode(run.prompt).items()}


def progress_shape(progress: Progress, classes: Mapping[str, str]) -> dict[str, Any]:
    """A Progress snapshot from a progress event."""
    step, steps, node = int(progress.value), int(progress.maximum), progress.node
    class_type = classes.get(progress.real_node or node)
    return {
        "value": progress.done,
        "nodes_done": progress.nodes_done,
        "nodes_total": progress.nodes_total,
        "current_node": node,
        "current_node_class": class_type,
        "step": step if steps > 1 else None,
        "steps": steps if steps > 1 else None,
        "message": f"{class_type or node} {step}/{steps}" if steps > 1 else class_type or node,
    }
