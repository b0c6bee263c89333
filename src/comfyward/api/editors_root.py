"""The editor's origin outside of workflows: it says what it is, and refuses everything else in plain words."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.errors import ErrorFormat
from comfyward.api.v1.errors import ERRORS
from comfyward.errors import ComfywardError, MethodNotAllowed, NotFound

ALONE = "ComfyUI's editor alone answers at this host name."
ELSEWHERE = "The website and its APIs have another: open the workflow there."


class PlainErrors(ErrorFormat):
    """Errors as text, for people who look at an address that pages use."""

    async def answer(self, request: Request, error: ComfywardError) -> Response:
        match error:
            case NotFound() | MethodNotAllowed():
                return Response(f"{ALONE} {ELSEWHERE}", error.status, media_type="text/plain")
            case _:
                return Response(error.message, error.status, media_type="text/plain")


PLAIN = PlainErrors(ERRORS.spell, ERRORS.model)


async def hello(request: Request) -> Response:
    """The answer by which pages find out that browsers reach this host name."""
    headers = {"Cross-Origin-Resource-Policy": "cross-origin"}
    return Response(f"{ALONE} {ELSEWHERE}", headers=headers, media_type="text/plain")
