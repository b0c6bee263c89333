"""The reports of a run to the server, in order: the first almost at once, then in batches.

Of progress and previews only the newest are sent; numbered reports are never dropped. All are repeated until the server
has received them, and the server ignores a numbered report that it received before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from comfyward.errors import ComfywardError, StaleLease
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import (
    Downloading,
    Ended,
    NodeProgress,
    NodesCached,
    OutputFile,
    PreviewFrame,
    Produced,
    Released,
    Report,
    Reports,
    Started,
)

log = logging.getLogger(__name__)

FIRST_S = 0.01  # a run that is over within it needs one call, not two
COALESCE_S = 0.05
MAX_ENCLOSED_BYTES = 1 << 20


@dataclass
class Room:
    """The number of output bytes that still fit into a report."""

    left: int = MAX_ENCLOSED_BYTES

    def takes(self, size: int) -> bool:
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


Make = Callable[[Room], Awaitable[Produced]]


@dataclass(frozen=True)
class _Unmade:
    """A numbered report that is made when its turn comes: later reports wait for its upload."""

    seq: int
    make: Make


class Reporter:
    """The reports of one run. `on_stale` is called when the lease is no longer ours."""

    def __init__(self, link: ServerLink, lease: str, on_stale: asyncio.Event) -> None:
        self._link, self._lease, self._on_stale = link, lease, on_stale
        self._seq = 0
        self._staged = False
        self._waiting: dict[tuple[str, str | None], Report | _Unmade] = {}
        self._kept_back: list[OutputFile] = []
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._send_loop(), name="reporter")

    def downloading(self, path: str, done: int, total: int | None) -> None:
        self._put(("downloading", path), Downloading(path, done, total))

    def progress(self, progress: NodeProgress) -> None:
        self._put(("progress", progress.node), progress)

    def cached(self, nodes: list[str]) -> None:
        self._put(("cached", None), NodesCached(nodes))

    def preview(self, node: str | None, content_type: str, data: bytes) -> None:
        self._put(("preview", node), PreviewFrame(node, content_type, data))

    def staged(self) -> None:
        """The run's files are here, and another run has the GPU."""
        self._staged = True
        self._wake.set()

    def started(self) -> None:
        self._number(Started(self._next()))

    def produced(self, make: Make) -> None:
        """Results of finished nodes; `make` makes the report without its number."""
        self._number(_Unmade(self._next(), make))

    async def ended(self, ended: Ended) -> None:
        """Sends the last report, and returns when the server has it or the lease is stale."""
        self._number(msgspec.structs.replace(ended, seq=self._next()))
        await self._finish()

    async def released(self) -> None:
        self._number(Released(self._next()))
        await self._finish()

    async def drop(self) -> None:
        """Stops sending."""
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

    def _number(self, report: Started | Ended | Released | _Unmade) -> None:
        self._put(("numbered", str(report.seq)), report)

    def _put(self, key: tuple[str, str | None], report: Report | _Unmade) -> None:
        self._waiting[key] = report
        self._wake.set()

    async def _send_loop(self) -> None:
        first = True
        while self._waiting or not self._closing:
            await self._wake.wait()
            if first:
                await self._coalesce(FIRST_S)
                first = False
            self._wake.clear()
            waiting, self._waiting = list(self._waiting.values()), {}
            staged, self._staged = self._staged, False
            try:
                reports = await self._made(waiting)
                if reports or staged:
                    await self._link.report(Reports(self._lease, reports, staged))
            except StaleLease:
                self._on_stale.set()
                return
            except ComfywardError:
                log.exception("the server refused a report", extra={"action": "report_refused"})
                self._on_stale.set()
                return
            await self._coalesce(COALESCE_S)

    async def _made(self, waiting: list[Report | _Unmade]) -> list[Report]:
        room, reports = Room(), list[Report]()
        for report in waiting:
            made = report
            if isinstance(made, _Unmade):
                made = msgspec.structs.replace(await made.make(room), seq=made.seq)
            if isinstance(made, Produced) and not self._link.takes_outputs_early:
                self._kept_back += made.outputs
            elif isinstance(made, Ended) and self._kept_back:
                reports.append(msgspec.structs.replace(made, outputs=[*self._kept_back, *made.outputs]))
            else:
                reports.append(made)
        return reports

    async def _coalesce(self, longest_s: float) -> None:
        """Waits a moment for more progress; the last report does not wait."""
        try:
            async with asyncio.timeout(longest_s):
                await self._urgent.wait()
        except TimeoutError:
            return
