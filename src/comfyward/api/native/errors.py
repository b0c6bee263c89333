"""Errors in ComfyUI's form."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from comfyward.api.body import answer


def error(
    kind: str, message: str, details: str, node_errors: dict[str, Any] | None = None, status: int = 400
) -> Response:
    """`{"error": {"type", "message", "details", "extra_info"}, "node_errors"}`, ComfyUI's form of an error."""
    body = {"type": kind, "message": message, "details": details, "extra_info": {}}
    return answer({"error": body, "node_errors": node_errors or {}}, status)
