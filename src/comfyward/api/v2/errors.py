"""The errors of Comfy API v2: `{"error": {"code", "message", "details"}}`, with the codes of its specification."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from comfyward.api.errors import ErrorFormat, Spelled
from comfyward.errors import (
    ComfywardError,
    InvalidGraph,
    QueueFull,
    TooLarge,
    TooManyFollowers,
    Unauthenticated,
    UnknownAccelerator,
)

RETRY_AFTER_S = 5


class ErrorBody(BaseModel):
    code: str
    message: str
    details: dict[str, Any] | None


class ErrorEnvelope(BaseModel):
    error: ErrorBody


def _spelled(error: ComfywardError) -> Spelled:
    match error:
        case Unauthenticated():
            return _envelope(401, "unauthorized", error.message)
        case InvalidGraph():
            is_editors = error.details.get("type") == "workflow_format_ui"
            code = "workflow_format_ui" if is_editors else "invalid_workflow"
            return _envelope(422, code, _sentence(error), {"node_errors": error.details.get("node_errors", {})})
        case UnknownAccelerator():
            return _envelope(429, "deployment_not_ready", _sentence(error), retry_after_s=RETRY_AFTER_S)
        case QueueFull() | TooManyFollowers():
            return _envelope(429, error.code, _sentence(error), retry_after_s=RETRY_AFTER_S)
        case TooLarge():
            return _envelope(413, "payload_too_large", _sentence(error))
        case _ if error.status >= 500:
            return _envelope(500, "upstream_error", "Something went wrong in the server; its log has the details.")
        case _:
            return _envelope(error.status, error.code, _sentence(error), error.details or None)


def _sentence(error: ComfywardError) -> str:
    return f"{error.message} {error.hint}" if error.hint else error.message


def _envelope(
    status: int, code: str, message: str, details: dict[str, Any] | None = None, *, retry_after_s: int | None = None
) -> Spelled:
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s else {}
    return Spelled(status, {"error": {"code": code, "message": message, "details": details}}, headers)


ERRORS = ErrorFormat(_spelled, ErrorEnvelope)
