"""ComfyUI's own API over the account's runs and files, each route both at /X and at /api/X, as ComfyUI has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import Mount

from comfyward.api.endpoint import Endpoint, Tables, routes
from comfyward.api.native.asset_errors import ASSET_ERRORS
from comfyward.api.native.errors import ERRORS
from comfyward.api.native.socket import Sockets


@dataclass(frozen=True)
class NativeParts:
    """The tables of ComfyUI's API by their subject: `shared` at /X and at /api/X, the others at one of both."""

    shared: Mapping[str, list[Endpoint]]
    below_api: list[Endpoint]
    at_root: list[Endpoint]
    sockets: Sockets

    def tables(self, prefix: str) -> list[Tables]:
        """The tables for their description, each endpoint once: the shared ones at /X."""
        subjects = {**self.shared, "ComfyUI: editor": self.at_root}
        assets = Tables(f"{prefix}/api", ASSET_ERRORS, {"ComfyUI: assets": self.below_api})
        return [Tables(prefix, ERRORS, subjects), assets]


def native_app(parts: NativeParts) -> Starlette:
    """An application with ComfyUI's routes, to be mounted anywhere, or served at the root of a port of its own."""
    endpoints = (endpoint for table in parts.shared.values() for endpoint in table)
    shared = [*routes(endpoints), *parts.sockets.routes()]
    below_api = Mount("/api", routes=[*shared, *routes(parts.below_api)])
    return Starlette(
        routes=[*shared, below_api, *routes(parts.at_root)],
        exception_handlers=ERRORS.handlers(),
    )
