"""A worker's parts that know environments, and the server's side of the wire to it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import blake3
import msgspec
from aiohttp import web

from comfyward.comfy import install
from comfyward.comfy.parents import ComfyParents
from comfyward.comfy.process import ComfySpec
from comfyward.environments.archive import pack
from comfyward.environments.builds import Build
from comfyward.environments.fetching import Fetching
from comfyward.environments.lock import Lock, lock_json
from comfyward.environments.registry import ComfyRegistry
from comfyward.environments.source import Folder
from comfyward.environments.spec import Spec
from comfyward.environments.weights import Weights
from comfyward.environments.workshop import Workshop
from comfyward.files.guard import Guard
from comfyward.sandbox import walls
from comfyward.worker import environment_orders
from comfyward.worker.builders import Builders
from comfyward.worker.deaths import Deaths
from comfyward.worker.engines import Engines
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.environment_reports import EnvironmentReport, Trial
from comfyward.worker.learning import Learning
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import PREFIX, Ask
from comfyward.worker.tried import Tried
from comfyward.worker.warm import WarmComfyUI
from tests.conftest import FAKE_COMFYUI

CIRCUMSTANCES = ("1",)
NO_REGISTRY = "http://127.0.0.1:9"
NODES = "NODE_CLASS_MAPPINGS = {'%s': object}\n"


def quiet(step: str, fraction: float | None) -> None:
    return


@dataclass
class Server:
    """The server's side of the wire, and the trees that it has."""

    workshop: Workshop
    locks: dict[str, Lock] = field(default_factory=dict)
    catalogs: dict[str, bytes] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    web_files: dict[str, bytes] = field(default_factory=dict)
    refusals: int = 0  # of trees, by breaking the connection
    asks: asyncio.Queue[Ask] = field(default_factory=asyncio.Queue)  # for runs, of which there are none
    url: str = ""

    def lock(self, sources: Path, *, files: tuple[Weights, ...] = (), **packs: dict[str, str]) -> Lock:
        """A lock of the fake ComfyUI with these packs."""
        for name, contents in packs.items():
            for file, text in contents.items():
                (sources / name).mkdir(parents=True, exist_ok=True)
                (sources / name / file).parent.mkdir(exist_ok=True)
                (sources / name / file).write_text(text)
        folders = tuple(self.workshop.sources.add_folder(sources / name) for name in packs)
        spec = Spec(self._comfyui(sources), folders, files=files)
        lock = self.workshop.locker.lock(spec, None, quiet)
        self.locks[lock.digest] = lock
        return lock

    def _comfyui(self, sources: Path) -> Folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(FAKE_COMFYUI, sources / "ComfyUI", ignore=ignored, dirs_exist_ok=True)
        (sources / "ComfyUI" / "requirements.txt").write_text("aiohttp\n")
        return self.workshop.sources.add_folder(sources / "ComfyUI")

    async def lease(self, request: web.Request) -> web.Response:
        await self.asks.put(msgspec.json.decode(await request.read(), type=Ask))
        await asyncio.Event().wait()
        raise AssertionError

    async def get_lock(self, request: web.Request) -> web.Response:
        return web.Response(text=lock_json(self.locks[request.match_info["digest"]]))

    async def get_tree(self, request: web.Request) -> web.Response:
        if self.refusals:
            self.refusals -= 1
            assert request.transport is not None
            request.transport.close()
        path = self.workshop.builds.root / "sent.zip"
        pack(self.workshop.trees.path(request.match_info["digest"]), path)
        return web.Response(body=path.read_bytes())

    async def put_catalog(self, request: web.Request) -> web.Response:
        self.catalogs[request.match_info["environment"]] = await request.read()
        return web.Response()

    async def put_trial(self, request: web.Request) -> web.Response:
        self.trials[request.match_info["digest"]] = msgspec.json.decode(await request.read(), type=Trial)
        return web.Response()

    async def put_web_files(self, request: web.Request) -> web.Response:
        archive = await request.read()
        assert blake3.blake3(archive).hexdigest() == request.match_info["archive"]
        self.web_files[request.match_info["digest"]] = archive
        return web.Response()


def fetching_in(folder: Path) -> Fetching:
    """A host's cache, into which files of this machine may be fetched."""
    return Fetching(str(folder / "cache"), allow=("127.0.0.0/8",))


def workshop(folder: Path) -> Workshop:
    return Workshop.below(folder, ComfyRegistry(NO_REGISTRY, Guard()), fetching_in(folder))


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Server]:
    """A server whose environments are below a folder."""
    served = Server(workshop(folder))
    app = web.Application(client_max_size=64 << 20)
    app.add_routes(
        [
            web.post(f"{PREFIX}/lease", served.lease),
            web.get(f"{PREFIX}/environments/trees/{{digest}}", served.get_tree),
            web.get(f"{PREFIX}/environments/{{digest}}", served.get_lock),
            web.put(f"{PREFIX}/environments/{{digest}}/trial", served.put_trial),
            web.put(f"{PREFIX}/environments/{{digest}}/web/{{archive}}", served.put_web_files),
            web.put(f"{PREFIX}/catalog/{{environment}}/{{digest}}", served.put_catalog),
        ]
    )
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    served.url = site.name
    yield served
    await runner.cleanup()


@dataclass
class Worker:
    """The parts of a worker that know environments."""

    workshop: Workshop
    engines: Engines
    comfyui: WarmComfyUI
    orders: EnvironmentOrders

    def build(self, lock: Lock) -> Build:
        found = self.workshop.builds.find(lock.digest)
        assert found is not None
        return found

    async def carried_out(self, lock: Lock) -> EnvironmentReport:
        """The last report about what is ordered."""
        self.orders.wanted([lock.digest])
        return await self.until(lambda report: report.state in environment_orders.FINAL)

    async def until(self, is_met: Callable[[EnvironmentReport], bool]) -> EnvironmentReport:
        """The first report that meets a condition; earlier ones are sent."""
        async with asyncio.timeout(120):
            while True:
                reports = self.orders.reports()
                for report in reports:
                    if is_met(report):
                        return report
                self.orders.sent(reports)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def working(server: Server, folder: Path, build_s: float = 600) -> AsyncIterator[Worker]:
    shop = workshop(folder / "environments")
    (folder / "worker").mkdir(parents=True, exist_ok=True)
    fake = install.existing(FAKE_COMFYUI, Path(sys.executable))
    default = ComfySpec(fake, folder / "worker" / "comfyui", walls.choose("auto"), False, ("--cpu",), (), (), ())
    engines = Engines(default, shop.builds, Tried(folder / "environments" / "trials", CIRCUMSTANCES))
    link = ServerLink(server.url, "token")
    comfyui = WarmComfyUI(engines, ComfyParents(folder / "worker"), "client", folder / "worker" / "leftovers")
    builders, died = Builders(shop, link, NO_REGISTRY, fetching_in(shop.builds.root), build_s), Deaths(engines.tried)
    learning = Learning(comfyui, fetching_in(shop.builds.root).opened())
    orders = EnvironmentOrders(engines, builders, comfyui, link, died, learning)
    await comfyui.ensure()
    working = asyncio.create_task(orders.run())
    try:
        yield Worker(shop, engines, comfyui, orders)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await comfyui.close()
        await link.close()


def state_of(build: Path) -> dict[str, tuple[int | str, ...]]:
    """The inode, size and time of every file, and the content of those that are not packages."""
    files = [Path(parent, name) for parent, _, names in os.walk(build) for name in names]
    return {str(path): _state(path, is_package="/venv/" in str(path)) for path in files if not path.is_symlink()}


def _state(path: Path, *, is_package: bool) -> tuple[int | str, ...]:
    about, content = path.stat(), b"" if is_package else path.read_bytes()
    return about.st_ino, about.st_size, about.st_mtime_ns, hashlib.sha256(content).hexdigest()
