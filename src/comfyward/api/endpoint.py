"""One line of an API's table of routes: method, path, handler, and the models of the request and its answer.

Every API declares its routes so; `routes` makes the application's routes of a table, `openapi` its description.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from comfyward.api.errors import ErrorFormat

Handler = Callable[[Request], Awaitable[Response]]

TEXT = "text/plain"
EVENT_STREAM = "text/event-stream"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Media:
    """Content of another media type than JSON, such as a form, with the model of its fields."""

    media_type: str
    model: Any


@dataclass(frozen=True, kw_only=True)
class Models:
    """The parts of an endpoint's request and answer, for its description. The handler reads and checks them itself.

    `body` and `answer` are a model (or a type built of models, such as `list[Run]`) for JSON, a media type, or a
    `Media`; of several forms a tuple of these. `headers` are those that the request may have, and `answer_headers`
    those of the answer, with a description of each.
    """

    query: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    answer: Any = None
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    description: str | None = None
    needs_key: bool = True


NO_MODELS = Models()
NOTHING = Models(status=204)


@dataclass(frozen=True)
class Endpoint:
    """A method and a path (Starlette's form), the handler of their requests, and a summary in a few words."""

    method: str
    path: str
    handler: Handler
    summary: str
    models: Models = NO_MODELS

    def route(self, prefix: str = "") -> Route:
        """A GET answers HEAD too."""
        route = Route(f"{prefix}{self.path}", self.handler, methods=[self.method])
        route.app = _answering(self.handler)
        return route


def _answering(handler: Handler) -> ASGIApp:
    """The application of a handler. Its errors are for the application around it.

    Starlette's own handles them too, so each request would pay for that twice.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answered = await handler(Request(scope, receive, send))
        await answered(scope, receive, send)

    return app


def routes(table: Iterable[Endpoint], prefix: str = "") -> list[Route]:
    """The routes of a table, in its order: the first that fits answers."""
    return [endpoint.route(prefix) for endpoint in table]


@dataclass(frozen=True)
class Tables:
    """The tables of one API by their subject, all below one prefix, and the form of its errors."""

    prefix: str
    errors: ErrorFormat
    subjects: Mapping[str, list[Endpoint]]

    def endpoints(self) -> list[Endpoint]:
        return [endpoint for table in self.subjects.values() for endpoint in table]

    def routes(self) -> list[Route]:
        """The routes of all tables, with the prefix."""
        return routes(self.endpoints(), self.prefix)


class _AnyPath(PathConvertor):
    """The rest of a path, line breaks in a file's name included."""

    regex = "(?s:.*)"


register_url_convertor("path", _AnyPath())
