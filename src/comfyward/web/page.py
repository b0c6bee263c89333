"""One line of the website's table of pages. `Pages` turns the table into routes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any

from starlette.responses import Response

from comfyward.web.page_request import FORM_LIMIT_BYTES, PageRequest

Handler = Callable[[PageRequest], Coroutine[Any, Any, Response]]


class Access(Enum):
    """The users who can open a page."""

    EVERYONE = "everyone"
    USERS = "users"  # anybody who is logged in
    ADMINS = "admins"


@dataclass(frozen=True)
class Page:
    """A method and a path (Starlette's syntax), the handler that answers them, and what they are for."""

    method: str
    path: str
    handler: Handler
    summary: str
    access: Access = Access.USERS
    form_limit_bytes: int = FORM_LIMIT_BYTES
