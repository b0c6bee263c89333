"""What a run's worker tells the server, in order: the first almost at once, then in batches.

What nodes do is passed on in its order, of steps and previews only the newest; numbered reports are never dropped. All
are repeated until the server has taken them, and the server passes over a numbered one that it has taken before.
"""

from __future__ import annotations

import asyncio
import logging

import msgspec

from comfyward.errors import ComfywardError, StaleLease
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import (
    Downloading,
    Ended,
    NodeProgress,
    NodesCached,
    PreviewFrame,
    Released,
    Report,
    Reports,
    Started,
)

log = logging.getLogger(__name__)

FIRST_S = 0.01  # a run that is over within it needs one call, not two
COALESCE_S = 0.05


class Reporter:
    """One run's reports. `on_stale` is called when the server says that the lease is no longer ours."""

    def __init__(self, link: ServerLink, lease: str, on_stale: asyncio.Event) -> None:
        self._link, self._lease, self._on_stale = link, lease, on_stale
        self._seq = 0
        self._frames = 0
        self._staged = False
        self._numbered: list[Report] = []
        self._newest: dict[tuple[str, str | None], Report] = {}
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._send_loop(), name="reporter")

    def downloading(self, path: str, done: int, total: int | None) -> None:
        self._live(("downloading", path), Downloading(path, done, total))

    def progress(self, node: str, value: float, maximum: float, done: int, total: int) -> None:
        self._live(("progress", node), NodeProgress(node, value, maximum, done, total))

    def cached(self, nodes: list[str]) -> None:
        self._live(("cached", None), NodesCached(nodes))

    def preview(self, node: str | None, content_type: str, data: bytes) -> None:
        """A PNG may be a node's final picture, which some clients wait for: none of them is passed over."""
        self._frames += content_type == "image/png"
        self._live(("preview", str(self._frames)), PreviewFrame(node, content_type, data))

    def staged(self) -> None:
        """Its files are here, and another run has the GPU."""
        self._staged = True
        self._wake.set()

    def started(self) -> None:
        self._number(Started(self._next()))

    async def ended(self, ended: Ended) -> None:
        """Sends the last report and returns when the server has it (or has given the lease to another)."""
        self._number(msgspec.structs.replace(ended, seq=self._next()))
        await self._finish()

    async def released(self) -> None:
        self._number(Released(self._next()))
        await self._finish()

    async def drop(self) -> None:
        """Sends nothing more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _finish(self) -> None:
        self._closing = True
        self._wake.set()
        self._urgent.set()
        await self._task

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _number(self, report: Report) -> None:
        self._numbered.append(report)
        self._wake.set()

    def _live(self, key: tuple[str, str | None], report: Report) -> None:
        self._newest[key] = report
        self._wake.set()

    async def _send_loop(self) -> None:
        first = True
        while not (self._closing and not self._numbered):
            await self._wake.wait()
            if first:
                await self._coalesce(FIRST_S)
                first = False
            self._wake.clear()
            batch = [*self._newest.values(), *self._numbered]
            if not batch and not self._staged:
                continue
            staged, self._staged = self._staged, False
            self._newest.clear()
            self._numbered.clear()
            try:
                await self._link.report(Reports(self._lease, batch, staged))
            except StaleLease:
                self._on_stale.set()
                return
            except ComfywardError:
                log.exception("the server refused a report", extra={"action": "report_refused"})
                self._on_stale.set()
                return
            await self._coalesce(COALESCE_S)

    async def _coalesce(self, longest_s: float) -> None:
        """Lets progress gather for a moment; the last report does not wait."""
        try:
            async with asyncio.timeout(longest_s):
                await self._urgent.wait()
        except TimeoutError:
            return
