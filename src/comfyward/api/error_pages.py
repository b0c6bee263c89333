"""Errors as JSON to programs, as a page of the website to a person's browser."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.errors import MAX_SHOWN_PATH, ErrorFormat
from comfyward.errors import ComfywardError, MethodNotAllowed, NotFound

ProblemPage = Callable[[Request, ComfywardError], Awaitable[Response]]

# Programs ask here, whatever they accept.
NOT_FOR_PEOPLE = re.compile(r"/(api|worker|fleet/v1|comfy|workflows/[^/]+/comfy)(/|$)")


class ErrorPages(ErrorFormat):
    """`page` renders an error of the website."""

    def __init__(self, programs: ErrorFormat, page: ProblemPage) -> None:
        super().__init__(programs.spell, programs.model)
        self._page = page

    async def answer(self, request: Request, error: ComfywardError) -> Response:
        if _is_for_people(request):
            return await self._page(request, _for_people(request, error))
        return await super().answer(request, error)


def _for_people(request: Request, error: ComfywardError) -> ComfywardError:
    """An address without a page does not exist for a person, also where programs may send something to it."""
    match error:
        case MethodNotAllowed():
            return NotFound(f"There is no page at {request.scope['path'][:MAX_SHOWN_PATH]}.", hint="Check the address.")
        case _:
            return error


def _is_for_people(request: Request) -> bool:
    is_browser = "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers
    return is_browser and NOT_FOR_PEOPLE.match(request.scope["path"]) is None
