"""The errors of ComfyUI's API: `{"error": {"type", "message", "details", "extra_info"}, "node_errors"}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from comfyward.api.errors import ErrorFormat, Spelled
from comfyward.errors import ComfywardError, InvalidGraph, InvalidRequest, MethodNotAllowed

MAX_SUMMED = 20


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
    """The answer of ComfyUI 0.30 to a graph that cannot run: the editor acts on its types."""
    node_errors = error.details.get("node_errors") or {}
    match error.details.get("type"):
        case "missing_node_type":
            return _missing_class(error)
        case "prompt_no_outputs":
            return _error(400, "prompt_no_outputs", "Prompt has no outputs")
        case _ if node_errors:
            message = "Prompt outputs failed validation"
            return _error(
                400, "prompt_outputs_failed_validation", message, _sum_of(node_errors), node_errors=node_errors
            )
        case _:
            return _error(400, "invalid_prompt", error.message, error.hint)


def _missing_class(error: InvalidGraph) -> Spelled:
    """A node whose class nobody has, or that names none."""
    node_id, class_type = error.details.get("node_id"), error.details.get("class_type")
    title = error.details.get("title") or class_type
    about = {"node_id": node_id, "class_type": class_type, "node_title": title}
    message = (
        f"Node '{title}' not found. The custom node may not be installed."
        if class_type
        else f"Node '{title or f'ID #{node_id}'}' has no class_type."
        " The workflow may be corrupted or a custom node is missing."
    )
    return _error(400, "missing_node_type", message, f"Node ID '#{node_id}'", about=about)


def _sum_of(node_errors: Mapping[str, Any]) -> str:
    """All errors as lines, for clients that show nothing else of a refused graph."""
    found = [each for entry in node_errors.values() for each in entry["errors"]]
    return "\n".join(f"{each['message']}: {each['details']}" for each in found[:MAX_SUMMED])


def _error(
    status: int,
    kind: str,
    message: str,
    details: str | None = None,
    *,
    about: Mapping[str, Any] | None = None,
    node_errors: Mapping[str, Any] | None = None,
) -> Spelled:
    body = {"type": kind, "message": message, "details": details or "", "extra_info": about or {}}
    return Spelled(status, {"error": body, "node_errors": node_errors or {}})


ERRORS = ErrorFormat(_spelled, Error)
