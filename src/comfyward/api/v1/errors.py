"""The errors of /api/v1, and of every path that belongs to no other API."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from comfyward.api.errors import ErrorFormat, Spelled
from comfyward.errors import ComfywardError


class Error(BaseModel):
    """An error. `code` is stable, for programs; `message` is a sentence, and `hint` says what to do."""

    status: Literal["error"]
    code: str
    message: str
    error: str = Field(description="The message again, for clients that read this field.")
    hint: str | None
    node_errors: dict[str, Any] = Field(description="ComfyUI's errors by node, of a graph that cannot run.")
    details: dict[str, Any]


def _spelled(error: ComfywardError) -> Spelled:
    details = dict(error.details)
    body = {
        "status": "error",
        "code": error.code,
        "message": error.message,
        "error": error.message,
        "hint": error.hint,
        "node_errors": details.pop("node_errors", {}),
        "details": details,
    }
    return Spelled(error.status, body)


ERRORS = ErrorFormat(_spelled, Error)
