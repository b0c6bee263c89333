"""The HTTP applications of a server: all APIs and the website, and ComfyUI's own API at the root of its port."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from comfyward.api.cors import Cors
from comfyward.api.editors_root import PLAIN, hello
from comfyward.api.endpoint import Tables, routes
from comfyward.api.error_pages import ErrorPages
from comfyward.api.health import Health
from comfyward.api.metrics import Metrics
from comfyward.api.native.app import native_app
from comfyward.api.native.frontend import Frontends
from comfyward.api.native.pack_files import BELOW, METHODS, at_root
from comfyward.api.reference import Reference
from comfyward.api.sealed import Sealed
from comfyward.api.v1.errors import ERRORS
from comfyward.api.v2.app import mount_v2
from comfyward.fleet.protocol import PREFIX as FLEETS_PREFIX
from comfyward.server.apis.native import framed_parts, native_parts
from comfyward.server.apis.v1 import v1_tables
from comfyward.server.apis.v2 import v2_tables
from comfyward.server.apis.website import website
from comfyward.server.apis.workers import fleets_table, workers_table
from comfyward.server.connections import Clients
from comfyward.server.construction import Core
from comfyward.server.hosts import ByHost
from comfyward.server.listening import HttpServer, Listeners
from comfyward.worker.protocol import PREFIX as WORKERS_PREFIX


def http_servers(core: Core, frontends: Frontends, listeners: Listeners) -> Sequence[HttpServer]:
    origins = core.settings.cors_origins
    clients = Clients(core.settings.connections_per_address, core.settings.request_timeout_s)
    website = Cors(application(core, frontends), origins)
    main = ByHost(core.editor_address, Sealed(_editors_application(core, frontends)), website)
    servers = [HttpServer(main, listeners.main, clients)]
    if listeners.native is not None:
        servers.append(
            HttpServer(Cors(_native_application(core, frontends), origins, paths=None), listeners.native, clients)
        )
    return servers


def application(core: Core, frontends: Frontends) -> Starlette:
    """Every API and the website. Routes that are on every run's way come first."""
    v1, v2, parts, site = v1_tables(core), v2_tables(core), native_parts(core, frontends), website(core, frontends)
    native, health = native_app(parts), _health_tables(core)
    described = [v1, v2, *parts.tables("/comfy"), health]
    return Starlette(
        routes=[
            Mount(WORKERS_PREFIX, routes=routes(workers_table(core))),
            mount_v2(v2),
            Mount("/comfy", native),
            *v1.routes(),
            Mount(FLEETS_PREFIX, routes=routes(fleets_table(core))),
            *frontends.routes(),
            Mount("/workflows/{workflow_id}/comfy", native),
            *site.routes,
            *health.routes(),
            *routes(Reference(described, ERRORS).endpoints()),
        ],
        exception_handlers=ErrorPages(ERRORS, site.problem).handlers(),
    )


def _native_application(core: Core, frontends: Frontends) -> Starlette:
    at_root = frontends.at_root()
    native = native_app(native_parts(core, at_root, is_open=core.settings.native_open))
    return Starlette(routes=[*at_root.routes(), Mount("/", native)])


def _editors_application(core: Core, frontends: Frontends) -> Starlette:
    """The editor's origin: its files, those of packs, and below a workflow's ticket what is asked of that workflow."""
    parts, packs = framed_parts(core, frontends)
    return Starlette(
        routes=[
            *frontends.routes(),
            Route("/", hello),
            Route(f"{BELOW}/{{ticket}}/{{name:path}}", packs.serve_kept),
            Mount("/workflows/{workflow_id}/{ticket}/comfy", native_app(parts)),
            Route("/{name:path}", at_root, methods=["GET", *METHODS]),
        ],
        exception_handlers=PLAIN.handlers(),
    )


def _health_tables(core: Core) -> Tables:
    health, metrics = (
        Health(core.workforce.readiness),
        Metrics(core.db, core.inventory, core.auth, core.settings.metrics_token),
    )
    return Tables("", ERRORS, {"health": [*health.endpoints(), *metrics.endpoints()]})
