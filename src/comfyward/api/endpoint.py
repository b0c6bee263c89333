"""One line of an API's table of routes: what is asked where, who answers, and what both sides send.

Every API declares its routes so; `routes` makes the application's routes of a table, `openapi` its description.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Models:
    """What an endpoint takes and gives, for its description. The handler reads and checks them itself.

    `body` and `answer` are a model (or a type built of models, such as `list[Run]`) for JSON, or a media type.
    """

    query: type[BaseModel] | None = None
    body: Any = None
    answer: Any = None
    status: int = 200
    description: str | None = None


NO_MODELS = Models()


@dataclass(frozen=True)
class Endpoint:
    """A method and a path (Starlette's form), who answers them, and what for, in a few words."""

    method: str
    path: str
    handler: Handler
    summary: str
    models: Models = NO_MODELS

    def route(self) -> Route:
        """A GET answers HEAD too."""
        return Route(self.path, self.handler, methods=[self.method])


def routes(table: Iterable[Endpoint]) -> list[Route]:
    """The routes of a table, in its order: the first that fits answers."""
    return [endpoint.route() for endpoint in table]
