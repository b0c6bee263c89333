"""Builds environments on this worker's host, one at a time, in a process of its own that ends with the worker."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from comfyward.environments import build_process
from comfyward.environments.build_process import Broken, Order
from comfyward.environments.child import Step, Tell, follow
from comfyward.environments.fetching import Fetching
from comfyward.environments.lock import Lock, LockedComfyUI, LockedPack
from comfyward.environments.source import Folder, parse_comfyui, parse_pack
from comfyward.environments.workshop import Workshop
from comfyward.errors import ComfywardError, SetupFailed
from comfyward.sandbox.temporary import TemporaryFolder
from comfyward.worker.link import ServerLink


class MayPass(SetupFailed):
    """A fault of the network: the same again may succeed."""


class Builders:
    """Gets what only the server has, and starts builders. Builders of several workers of a host build once."""

    def __init__(
        self, workshop: Workshop, link: ServerLink, registry_url: str, fetching: Fetching, limit_s: float
    ) -> None:
        """A build takes at most `limit_s` seconds."""
        self._workshop, self._link = workshop, link
        self._registry_url, self._fetching = registry_url, fetching
        self._limit_s = limit_s

    async def build(self, lock: Lock, tell: Tell) -> None:
        """Returns when it is built here. Raises SetupFailed, MayPass, and what a call of the link raises."""
        if self._workshop.builds.find(lock.digest) is not None:
            return
        last = [Step("Starting", None)]

        def on_step(step: Step) -> None:
            last[0] = step
            tell(step)

        try:
            async with asyncio.timeout(self._limit_s) as limit:
                await self._build(lock, on_step)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise SetupFailed(
                f"The build took longer than {self._limit_s:.0f} s, and was ended at the step: {last[0].step}.",
                hint="If it only needs more time, raise COMFYWARD_ENVIRONMENT_BUILD_S, and have it tried again.",
            ) from error

    async def _build(self, lock: Lock, tell: Tell) -> None:
        with TemporaryFolder() as folder:
            archives = await self._fetch_trees(lock, folder, tell)
            order = Order(
                root=str(self._workshop.builds.root),
                registry_url=self._registry_url,
                fetching=self._fetching,
                parent=os.getpid(),
                lock=lock,
                archives=archives,
            )
            await _run(order, tell)

    async def _fetch_trees(self, lock: Lock, folder: Path, tell: Tell) -> dict[str, str]:
        """Archives of those sources that are folders, and not on this host, by the digest of their tree."""
        found: dict[str, str] = {}
        parts: tuple[LockedComfyUI | LockedPack, ...] = (lock.comfyui, *lock.packs)
        for part in parts:
            if _is_folder(part) and not await asyncio.to_thread(self._workshop.trees.has, part.tree):
                tell(Step(f"Fetching {part.source.partition('@')[0].removeprefix('folder:')}", None))
                path = folder / f"{part.tree}.zip"
                await self._fetch_tree(part.tree, path)
                found[part.tree] = str(path)
        return found

    async def _fetch_tree(self, tree: str, path: Path) -> None:
        """Raises MayPass if the server is busy or away, and what a call of the link raises."""
        try:
            await self._link.fetch_tree(tree, path)
        except ComfywardError as error:
            if error.details.get("http_status", 0) < 500:
                raise
            raise MayPass(error.message, hint=error.hint) from error


def _is_folder(part: LockedComfyUI | LockedPack) -> bool:
    source = parse_pack(part.source) if isinstance(part, LockedPack) else parse_comfyui(part.source)
    return isinstance(source, Folder)


async def _run(order: Order, tell: Tell) -> None:
    """Runs a builder to its end, or to its death if this is cancelled."""
    match await follow(build_process.__name__, order, build_process.read, tell):
        case Broken(message, hint, may_pass):
            raise (MayPass if may_pass else SetupFailed)(message, hint=hint)
