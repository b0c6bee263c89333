"""The errors of ComfyUI's API: `{"error": {"type", "message", "details", "extra_info"}, "node_errors"}`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from comfyward.api.errors import ErrorFormat, Spelled
from comfyward.errors import ComfywardError, InvalidGraph, InvalidRequest, MethodNotAllowed


class NoPrompt(InvalidRequest):
    code = "no_prompt"


class ErrorBody(BaseModel):
    type: str
    message: str
    details: str
    extra_info: dict[str, Any]


class Error(BaseModel):
    """ComfyUI's error. `node_errors` are those of a graph, by node."""

    error: ErrorBody
    node_errors: dict[str, Any]


def _spelled(error: ComfywardError) -> Spelled:
    match error:
        case InvalidGraph():
            return _refused_graph(error)
        case NoPrompt():
            return _error(400, error.code, error.message, error.message)
        case MethodNotAllowed():
            return _error(405, "invalid_request", error.message, error.hint)
        case _:
            return _error(error.status, error.code, error.message, error.hint)


def _refused_graph(error: InvalidGraph) -> Spelled:
    """ComfyUI's own answer to a graph that cannot run."""
    node_errors = error.details.get("node_errors") or {}
    match error.details.get("type"):
        case "missing_node_type":
            node, class_type = error.details.get("node_id"), error.details.get("class_type")
            message = f"Cannot execute because node {class_type} does not exist."
            return _error(400, "invalid_prompt", message, f"Node ID '#{node}'")
        case "prompt_no_outputs":
            return _error(400, "prompt_no_outputs", "Prompt has no outputs")
        case _ if node_errors:
            message = "Prompt outputs failed validation"
            return _error(400, "prompt_outputs_failed_validation", message, node_errors=node_errors)
        case _:
            return _error(400, "invalid_prompt", error.message, error.hint)


def _error(
    status: int, kind: str, message: str, details: str | None = None, *, node_errors: dict[str, Any] | None = None
) -> Spelled:
    body = {"type": kind, "message": message, "details": details or "", "extra_info": {}}
    return Spelled(status, {"error": body, "node_errors": node_errors or {}})


ERRORS = ErrorFormat(_spelled, Error)
