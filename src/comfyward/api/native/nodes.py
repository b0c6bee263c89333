"""ComfyUI's routes for what exists: node classes, models, the system. All from the fleet's stored catalog, so that
they answer before any worker is up; lists of files are extended by the account's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from comfyward.api.body import Kept, answer
from comfyward.api.context import Context
from comfyward.api.native.help import help_page
from comfyward.api.native.scope import Scopes
from comfyward.api.native.socket import features
from comfyward.store import files, workers
from comfyward.store.db import now_ms
from comfyward.store.workers import WorkerRow
from comfyward.workflows.catalog import Catalog
from comfyward.workflows.listing import Paths

REMEMBERED = 64
MAX_REMEMBERED_WORKERS = 100
DEVICE_MEMORY = ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")

# The account's one address of what each of its workflows offers alike, so that a browser keeps it once for all of them.
SHARED_INFO = "/comfy/api/object_info"


class Nodes:
    def __init__(self, context: Context, scopes: Scopes) -> None:
        self._context, self._db, self._scopes = context, context.db, scopes
        self._bodies: dict[tuple[Any, ...], Kept] = {}

    def routes(self) -> list[Route]:
        return [
            Route("/object_info", self.all_info, methods=["GET"]),
            Route("/object_info/{class_type:path}", self.info, methods=["GET"]),
            Route("/docs/{class_type:path}/{locale}.md", self.help, methods=["GET"]),
            Route("/extensions/{pack}/docs/{class_type:path}.md", self.help, methods=["GET"]),
            Route("/models", self.folders, methods=["GET"]),
            Route("/models/{folder}", self.models, methods=["GET"]),
            Route("/internal/folder_paths", self.folder_paths, methods=["GET"]),
            Route("/experiment/models", self.folders_with_paths, methods=["GET"]),
            Route("/experiment/models/{folder}", self.models_with_sizes, methods=["GET"]),
            Route("/embeddings", self.embeddings, methods=["GET"]),
            Route("/features", self.features, methods=["GET"]),
            Route("/system_stats", self.system_stats, methods=["GET"]),
        ]

    async def all_info(self, request: Request) -> Response:
        if "workflow_id" in request.path_params and _keeps_answers(request):
            await self._scopes.of(request)
            return RedirectResponse(SHARED_INFO, 307)
        catalog, own = await self._offered(request)
        if catalog is None:
            return answer({})
        key = (id(catalog), *own)
        if key not in self._bodies:
            if len(self._bodies) >= REMEMBERED:
                self._bodies.clear()
            described = {name: extended(catalog, name, own) for name in catalog.nodes}
            self._bodies[key] = Kept.of(msgspec.json.encode(described))
        return self._bodies[key].answer(request, "application/json", {"Cache-Control": "private, no-cache"})

    async def info(self, request: Request) -> Response:
        catalog, own = await self._offered(request)
        name = request.path_params["class_type"]
        if catalog is None or name not in catalog.nodes:
            return answer({})  # as ComfyUI, and clients rely on it
        return answer({name: extended(catalog, name, own)})

    async def help(self, request: Request) -> Response:
        """The class may be followed by a language; there is one."""
        catalog, _ = await self._offered(request)
        name, nodes = request.path_params["class_type"], catalog.nodes if catalog else {}
        found = name if name in nodes else name.rpartition("/")[0]
        if found not in nodes:
            return Response(status_code=404)
        return Response(help_page(found, nodes[found]), media_type="text/markdown")

    async def folders(self, request: Request) -> Response:
        return answer(list(await self._models(request)))

    async def folder_paths(self, request: Request) -> Response:
        """Folders as runs and files name them. The editor adds a missing model only where it knows the folder."""
        return answer({name: [f"/models/{name}"] for name in await self._models(request)})

    async def models(self, request: Request) -> Response:
        found = (await self._models(request)).get(request.path_params["folder"])
        return Response(status_code=404) if found is None else answer(found)

    async def folders_with_paths(self, request: Request) -> Response:
        return answer([{"name": name, "folders": [name]} for name in await self._models(request)])

    async def models_with_sizes(self, request: Request) -> Response:
        found = (await self._models(request)).get(request.path_params["folder"])
        if found is None:
            return Response(status_code=404)
        unknown = {"pathIndex": 0, "modified": 0, "created": 0, "size": 0}
        return answer([{"name": name, **unknown} for name in found])

    async def embeddings(self, request: Request) -> Response:
        names = (await self._models(request)).get("embeddings", [])
        return answer(sorted(name.rpartition(".")[0] or name for name in names))

    async def features(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer(features(self._context.settings.upload_limit_bytes))

    async def system_stats(self, request: Request) -> Response:
        """Of the whole fleet: the memory of its hosts, a device for each worker; the last ones while it sleeps."""
        catalog, _ = await self._offered(request)
        found = await self._db.read(_fleet)
        version = catalog.comfyui_version if catalog else ""
        return answer(
            {
                "system": {
                    "os": "posix",
                    "ram_total": _of_hosts(found, "ram_total"),
                    "ram_free": _of_hosts(found, "ram_free"),
                    "comfyui_version": version,
                    "required_frontend_version": "",
                    "installed_templates_version": None,
                    "required_templates_version": None,
                    "python_version": next((worker.versions.get("python", "") for worker in found), ""),
                    "pytorch_version": next((_memory(worker).get("pytorch_version", "") for worker in found), ""),
                    "embedded_python": False,
                    "argv": ["comfyward"],
                },
                "devices": [_device(index, worker) for index, worker in enumerate(found)],
            }
        )

    async def _offered(self, request: Request) -> tuple[Catalog | None, Paths]:
        scope = await self._scopes.of(request)
        own = await self._db.read(files.usable_paths, scope.account_id)
        return await self._context.inventory.catalog_lately(), own

    async def _models(self, request: Request) -> dict[str, list[str]]:
        catalog, own = await self._offered(request)
        return (catalog or Catalog()).models_with(own)


def _keeps_answers(request: Request) -> bool:
    """Whether this is a browser's own request for a page; many other clients follow no redirect."""
    return "sec-fetch-mode" in request.headers and "authorization" not in request.headers


def extended(catalog: Catalog, class_type: str, own: Paths) -> dict[str, Any]:
    """A class as /object_info describes it, with the account's own files among the choices of inputs that take them."""
    info = catalog.nodes[class_type]
    of_inputs = {
        name: own.offered(catalog.listings_of(class_type, name)) for name in catalog.folders.get(class_type, ())
    }
    wanted = {name: offered for name, offered in of_inputs.items() if offered}
    if not wanted:
        return info
    sections = {
        section: {name: _with_choices(spec, wanted[name]) if name in wanted else spec for name, spec in specs.items()}
        if isinstance(specs, dict)
        else specs
        for section, specs in info.get("input", {}).items()
    }
    return {**info, "input": sections}


def _with_choices(spec: list[Any], names: Iterable[str]) -> list[Any]:
    """An input's description in either form: [[choices], options] or ["COMBO", {"options": choices}]."""
    first, *rest = spec
    if isinstance(first, list):
        return [_merged(first, names), *rest]
    options = rest[0] if rest and isinstance(rest[0], dict) else {}
    if first == "COMBO" and isinstance(options.get("options"), list):
        return [first, {**options, "options": _merged(options["options"], names)}, *rest[1:]]
    return spec


def _merged(choices: list[Any], names: Iterable[str]) -> list[Any]:
    return [*choices, *sorted(set(names) - set(choices))]


def _fleet(conn: Connection) -> list[WorkerRow]:
    """The workers that are there, else the one of each pool that was there last: clients look for a device."""
    present = workers.find(conn, now_ms() - workers.PRESENT_MS)
    return present or list({worker.pool: worker for worker in workers.last_seen(conn, MAX_REMEMBERED_WORKERS)}.values())


def _memory(worker: WorkerRow) -> dict[str, Any]:
    return worker.vitals.get("memory") or {}


def _of_hosts(found: list[WorkerRow], what: str) -> int:
    """Workers of one host share its memory."""
    return sum({worker.host: int(_memory(worker).get(what, 0)) for worker in found}.values())


def _device(index: int, worker: WorkerRow) -> dict[str, Any]:
    memory = _memory(worker)
    amounts = {name: memory.get(name, 0) for name in DEVICE_MEMORY}
    kind = memory.get("device_type") or worker.pool.lower()
    return {"name": f"{worker.pool} {worker.device}", "type": kind, "index": index, **amounts}
