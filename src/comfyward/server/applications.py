"""The HTTP applications of a server, made of its core."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import Mount

from comfyward.api.app import create_app
from comfyward.api.context import Context
from comfyward.api.cors import Cors
from comfyward.api.native.app import native_app, native_parts
from comfyward.api.native.frontend import Frontends
from comfyward.server.construction import Core
from comfyward.server.listening import HttpServer, Listeners
from comfyward.web.app import website


def http_servers(core: Core, frontends: Frontends, listeners: Listeners) -> Sequence[HttpServer]:
    """The server of all APIs and the website and, by setting, one with ComfyUI's own API at the root of its port."""
    context = _context(core)
    main = HttpServer(create_app(context, frontends, website(context, frontends)), listeners.main)
    if listeners.native is None:
        return [main]
    at_root = frontends.at_root()
    native = native_app(native_parts(context, at_root, is_open=core.settings.native_open))
    root = Starlette(routes=[*at_root.routes(), Mount("/", native)])
    return [main, HttpServer(Cors(root, core.settings.cors_origins, paths=None), listeners.native)]


def _context(core: Core) -> Context:
    return Context(
        settings=core.settings,
        db=core.db,
        auth=core.auth,
        intake=core.intake,
        inventory=core.inventory,
        sessions=core.workforce.sessions,
        logs=core.workforce.logs,
        assigner=core.workforce.assigner,
        recorder=core.workforce.recorder,
        rules=core.workforce.rules,
        forecasts=core.workforce.forecasts,
        fleet=core.workforce.fleet,
        readiness=core.workforce.readiness,
        blobs=core.storage.blobs,
        objects=core.storage.objects,
        hub=core.changes.hub,
        secrets=core.changes.secrets,
        imports=core.storage.imports,
        uploads=core.storage.uploads,
        mirrors=core.storage.mirrors,
        webhooks=core.webhooks,
    )
