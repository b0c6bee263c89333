"""Error responses of an API: its `ErrorFormat` renders errors, and provides the handlers for Starlette.

    def _spelled(error: ComfywardError) -> Spelled:
        match error:
            case TooLarge():
                return Spelled(413, {"error": {"code": "payload_too_large", "message": error.message}})
            case _:
                return Spelled(error.status, {"error": {"code": error.code, "message": error.message}})

    ERRORS = ErrorFormat(_spelled, ErrorBody)
    Starlette(routes=…, exception_handlers=ERRORS.handlers())

`_spelled` is the API's table of errors, a pure function; `ErrorBody` is the model of its bodies, for the OpenAPI.
Every error is a ComfywardError by then: unknown paths (NotFound), wrong methods (MethodNotAllowed) and faults of the
server (ComfywardError, 500) too. Logging and the headers that HTTP asks for (WWW-Authenticate, Allow, Content-Range)
happen here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from comfyward.errors import ComfywardError, InvalidRequest, MethodNotAllowed, NotFound, OutsideFile, Unauthenticated
from comfyward.files.part import full_disk, is_full

log = logging.getLogger(__name__)

CLIENT_CLOSED_REQUEST = 499  # nginx's code; the client has gone, so nobody reads it
MAX_SHOWN_PATH = 200
SERVERS_DISK = "Free disk space on the server's host, then send it again."


@dataclass(frozen=True)
class Spelled:
    """An error as one API answers it. `body` is encoded as JSON."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class ErrorFormat:
    """The errors of one API."""

    def __init__(self, spell: Callable[[ComfywardError], Spelled], model: type[BaseModel]) -> None:
        self.spell, self.model = spell, model

    def handlers(self) -> dict[Any, Any]:
        """The exception handlers of a Starlette application."""
        return {
            ComfywardError: self._refused,
            HTTPException: self._http,
            ClientDisconnect: self._disconnected,
            OSError: self._of_disk,
            Exception: self._unexpected,
        }

    async def answer(self, request: Request, error: ComfywardError) -> Response:
        """The response to a request that failed with this error."""
        spelled = self.spell(error)
        body = msgspec.json.encode(spelled.body, enc_hook=str)
        response = Response(body, spelled.status, dict(spelled.headers), media_type="application/json")
        if isinstance(error, Unauthenticated):
            response.headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, OutsideFile):
            response.headers["Content-Range"] = f"bytes */{error.details['size']}"
        return response

    async def _refused(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ComfywardError)
        if error.status >= 500:
            log.error("%s: %s", error.code, error.message, extra={"action": "request_failed"})
        return await self.answer(request, error)

    async def _http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        response = await self.answer(request, _as_ours(request, error))
        response.headers.update(error.headers or {})
        return response

    async def _disconnected(self, request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def _of_disk(self, request: Request, error: Exception) -> Response:
        """Raises what is no full disk again: it is a fault of the server."""
        assert isinstance(error, OSError)
        if not is_full(error):
            raise error
        return await self._refused(request, full_disk(error, SERVERS_DISK))

    async def _unexpected(self, request: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error, extra={"action": "request_failed"})
        ours = ComfywardError("Something went wrong in the server; its log has the details.")
        return await self.answer(request, ours)


def _as_ours(request: Request, error: HTTPException) -> ComfywardError:
    """Starlette's error as one of the tree."""
    place = f"{request.method} {request.scope['path'][:MAX_SHOWN_PATH]}"
    match error.status_code:
        case 404:
            return NotFound(f"There is nothing at {place}.", hint="See /docs for what there is.")
        case 405:
            return MethodNotAllowed(f"There is nothing at {place}.", hint="See /docs for what there is.")
        case status:
            ours = InvalidRequest(str(error.detail))
            ours.status = status
            return ours
