"""Parts of requests as ComfyUI reads them: JSON whatever its Content-Type, lists that may be one name, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from comfyward.api.body import python_json, read_body
from comfyward.errors import InvalidRequest
from comfyward.python_json import NOT_JSON

MAX_CLIENT_ID = 200  # characters


async def read_any(request: Request, limit_bytes: int) -> Any:
    """Raises InvalidRequest, TooLarge."""
    return await _decoded(request, await read_body(request, limit_bytes))


async def read_object(request: Request, limit_bytes: int) -> dict[str, Any]:
    """A JSON object; an empty body is an empty one. Raises InvalidRequest, TooLarge."""
    raw = await read_body(request, limit_bytes)
    body = await _decoded(request, raw) if raw.strip() else {}
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return body


def list_of(value: Any) -> list[Any]:
    """A list; a string that is not empty is a list of it, everything else an empty one."""
    return value if isinstance(value, list) else [value] if isinstance(value, str) and value else []


def number_in(request: Request, name: str, default: int) -> int:
    """A parameter of the query, -1 for everything below. Raises InvalidRequest."""
    text = request.query_params.get(name)
    if not text:
        return default
    try:
        return max(-1, min(int(text), 1 << 31))
    except ValueError as error:
        raise InvalidRequest(f"'{name}' must be a whole number.") from error


def choice_in(request: Request, name: str, known: Sequence[str]) -> str:
    """A parameter that has one of the known values, the first by default. Raises InvalidRequest."""
    value = request.query_params.get(name, "").lower() or known[0]
    if value not in known:
        raise InvalidRequest(f"'{name}' must be {' or '.join(known)}.")
    return value


async def _decoded(request: Request, raw: bytes) -> Any:
    try:
        return await python_json(request, raw)
    except NOT_JSON as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}.") from error
