"""Every route that a server has, as its application knows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast
from unittest.mock import MagicMock

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route

from comfyward.api.native.frontend import Frontends
from comfyward.server.apis.website import website
from comfyward.server.applications import application
from comfyward.server.construction import Core

CORE = cast(Core, MagicMock())
# The wires of workers and fleets, which no other programs use.
WIRES = ("/worker/", "/fleet/v1/")


def whole() -> Starlette:
    """The application of a server, whose routes do nothing."""
    return application(CORE, Frontends())


def pages() -> set[tuple[str, str]]:
    """(method, path) of the website's routes."""
    return set(served(website(CORE, Frontends()).routes))


def of_workers() -> set[tuple[str, str]]:
    """(method, path) of the routes for workers and fleets."""
    return {(method, path) for method, path in served(whole().routes) if path.startswith(WIRES)}


def served(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of all routes; HEAD where there is GET is understood."""
    for route in routes:
        match route:
            case Mount():
                yield from served(list(route.routes), f"{prefix}{route.path_format.removesuffix('/{path}')}")
            case Route():
                methods = set(route.methods or ())
                for method in methods - ({"HEAD"} if "GET" in methods else set()):
                    yield method.lower(), f"{prefix}{route.path_format}"
