"""ComfyUI's description of its system: here, of the whole fleet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.native.models import Features, SystemStats
from comfyward.api.native.scope import Scopes
from comfyward.dispatch.inventory import Inventory
from comfyward.store import workers
from comfyward.store.db import Database, now_ms
from comfyward.store.workers import WorkerRow

MAX_REMEMBERED_WORKERS = 100
DEVICE_MEMORY = ("vram_total", "vram_free", "torch_vram_total", "torch_vram_free")


class System:
    def __init__(self, db: Database, scopes: Scopes, inventory: Inventory, upload_limit_bytes: int) -> None:
        self._db, self._scopes, self._inventory = db, scopes, inventory
        self._upload_limit_bytes = upload_limit_bytes

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/features", self.features, "The server's features", Models(answer=Features)),
            Endpoint("GET", "/system_stats", self.stats, "Versions, memory, devices", Models(answer=SystemStats)),
            Endpoint("POST", "/free", self.free, "Free memory: workers do so themselves"),
        ]

    async def features(self, request: Request) -> Response:
        await self._scopes.of(request)
        return answer(features(self._upload_limit_bytes))

    async def stats(self, request: Request) -> Response:
        """The memory of all hosts, and a device for each worker."""
        await self._scopes.of(request)
        catalog, found = await self._inventory.catalog_lately(), await self._db.read(_fleet)
        return answer(_stats(found, catalog.comfyui_version if catalog else ""))

    async def free(self, request: Request) -> Response:
        await self._scopes.of(request)
        return Response()


def features(upload_limit_bytes: int) -> dict[str, Any]:
    """The server's features by ComfyUI's names."""
    return {"supports_preview_metadata": True, "max_upload_size": upload_limit_bytes, "node_replacements": True}


def _stats(found: list[WorkerRow], comfyui_version: str) -> dict[str, Any]:
    system = {
        "os": "posix",
        "ram_total": _of_hosts(found, "ram_total"),
        "ram_free": _of_hosts(found, "ram_free"),
        "comfyui_version": comfyui_version,
        "required_frontend_version": "",
        "installed_templates_version": None,
        "required_templates_version": None,
        "python_version": next((worker.versions.get("python", "") for worker in found), ""),
        "pytorch_version": next((_memory(worker).get("pytorch_version", "") for worker in found), ""),
        "embedded_python": False,
        "argv": ["comfyward"],
    }
    return {"system": system, "devices": [_device(index, worker) for index, worker in enumerate(found)]}


def _fleet(conn: Connection) -> list[WorkerRow]:
    """The workers that are present, else the latest one of each pool: clients look for a device."""
    present = workers.find(conn, now_ms() - workers.PRESENT_MS)
    return present or list({worker.pool: worker for worker in workers.last_seen(conn, MAX_REMEMBERED_WORKERS)}.values())


def _memory(worker: WorkerRow) -> dict[str, Any]:
    return worker.vitals.get("memory") or {}


def _of_hosts(found: list[WorkerRow], amount: str) -> int:
    """The sum over all hosts; workers of one host share its memory."""
    return sum({worker.host: int(_memory(worker).get(amount, 0)) for worker in found}.values())


def _device(index: int, worker: WorkerRow) -> dict[str, Any]:
    memory = _memory(worker)
    amounts = {name: memory.get(name, 0) for name in DEVICE_MEMORY}
    kind = memory.get("device_type") or worker.pool.lower()
    return {"name": f"{worker.pool} {worker.device}", "type": kind, "index": index, **amounts}
