"""The parents of a worker's ComfyUI processes: one for each environment in use, of which the two last used are kept."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from comfyward.comfy.copies import KEPT_ENVIRONMENTS, Copies, Recipe
from comfyward.comfy.forked import Forked
from comfyward.comfy.parent import Environment, Parent, Start
from comfyward.errors import SetupFailed
from comfyward.sandbox.cgroups import COMFYUI, Cgroup, Cgroups

log = logging.getLogger(__name__)


class ComfyParents:
    """The parents of a worker, and the copies of source and packs for what they fork."""

    def __init__(self, home: Path, cgroups: Cgroups | None = None) -> None:
        """`home` is the folder in which every ComfyUI of the worker has its own, `cgroups` are those of the worker."""
        self.home, self._cgroups = home.resolve(), cgroups
        self.copies = Copies(self.home / "copies")
        self._making: asyncio.Task[None] | None = None
        self._parents: dict[Environment, Parent] = {}  # the last used one is the last
        self._retired: list[Parent] = []  # they fork no more, and end with the last ComfyUI that they forked
        self._left_out: dict[Environment, set[str]] = {}  # libraries that a parent should not import

    @property
    def has_cgroups(self) -> bool:
        """True if each ComfyUI has a cgroup."""
        return self._cgroups is not None

    @property
    def processes(self) -> list[int]:
        """The processes of the parents that would fork; each leads a group."""
        return [parent.pid for parent in self._parents.values() if parent.pid is not None]

    async def prepare(self, environment: Environment) -> Parent:
        """The parent of an environment, started if there is none that fits; it may still import."""
        parent = self._parents.pop(environment, None)
        if parent is not None and parent.is_outdated():
            log.info("ComfyUI's libraries or packs have changed", extra={"action": "comfyui_parent_outdated"})
            self._left_out.pop(environment, None)
        if parent is not None and (not parent.is_running or parent.is_outdated()):
            self._retired.append(parent)
            parent = None
        self._parents[environment] = parent or Parent(
            environment, self._left_out.get(environment, set()), self._cgroups
        )
        while len(self._parents) > KEPT_ENVIRONMENTS:
            self._retired.append(self._parents.pop(next(iter(self._parents))))
        await self._end_unused()
        return self._parents[environment]

    async def fork(self, environment: Environment, start: Start) -> Forked:
        """A ComfyUI of a parent; of one that imports nothing if that fails. Raises SetupFailed."""
        parent = await self.prepare(environment)
        try:
            forked = await parent.fork(start)
        except (SetupFailed, TimeoutError) as error:
            log.warning("ComfyUI is started without its parent: %s", error, extra={"action": "comfyui_parent_failed"})
            self._retired.append(parent)
            self._parents[environment] = bare = Parent(environment, None, self._cgroups)
            await self._end_unused()
            return await bare.fork(start)
        self._left_out.setdefault(environment, set()).update(name for name, _ in parent.ready.left_out)
        return forked

    def cgroup(self) -> Cgroup | None:
        """A new cgroup for a ComfyUI; None if this worker has none. Raises SetupFailed."""
        return None if self._cgroups is None else self._cgroups.make(COMFYUI)

    def make_ahead(self, recipe: Recipe) -> None:
        """Makes the copy for the next ComfyUI while this one works."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(asyncio.to_thread(self.copies.make_ahead, recipe), name="next-copy")

    async def close(self) -> None:
        """Ends all parents, and every ComfyUI that they forked."""
        if self._making is not None:
            await self._making
        await asyncio.to_thread(self.copies.close)
        await asyncio.gather(*(parent.close() for parent in (*self._parents.values(), *self._retired)))
        self._parents.clear()
        self._retired.clear()

    async def _end_unused(self) -> None:
        unused = [parent for parent in self._retired if not parent.is_used]
        self._retired = [parent for parent in self._retired if parent not in unused]
        await asyncio.gather(*(parent.close() for parent in unused))
