"""The reports of a run to the server, in order: the first almost at once, then in batches.

Of progress and previews only the newest are sent, and no more at a time than a server can take; numbered reports are
never dropped. All are repeated until the server has received them, and the server ignores a numbered report that it
received before. One that it refuses is the failure of the run: it would be refused again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from comfyward.errors import ComfywardError, StaleLease
from comfyward.runs.run import EndReason
from comfyward.worker.link import ServerLink
from comfyward.worker.previews import MAX_WAITING_BYTES, Previews
from comfyward.worker.protocol import (
    Downloading,
    Ended,
    FailureReport,
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

FIRST_S = 0.03  # a run that is over within it needs one call, not two
COALESCE_S = 0.05
MAX_ENCLOSED_BYTES = 1 << 20
MAX_PROGRESS_CHARACTERS = 64 << 10  # of the names in one call
PROGRESS_CHARACTERS = 100  # that a report of progress counts for, beside its names


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

    def __init__(self, link: ServerLink, lease: str, on_stale: Callable[[], None]) -> None:
        self._link, self._lease, self._on_stale = link, lease, on_stale
        self._seq = 0
        self._staged = False
        self._waiting: dict[tuple[str, str | None], Report | _Unmade] = {}
        self._previews = Previews()
        self._placed, self._placed_bytes = dict[str | None, PreviewFrame](), 0  # the previews in `_waiting`
        self._kept_back: list[OutputFile] = []
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._send_loop(), name="reporter")

    def downloading(self, path: str, done: int, total: int | None) -> None:
        self._put(("downloading", path), Downloading(path, done, total))

    def progress(self, progress: NodeProgress) -> None:
        if _characters_of(progress) <= MAX_PROGRESS_CHARACTERS:
            self._put(("progress", progress.node), progress)

    def cached(self, nodes: list[str]) -> None:
        self._put(("cached", None), NodesCached(nodes))

    def preview(self, node: str | None, content_type: str, data: bytes) -> None:
        self._previews.put(PreviewFrame(node, content_type, data))
        self._wake.set()

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
        self._place_previews()
        self._waiting[key] = report
        self._wake.set()

    def _place_previews(self) -> None:
        """Puts the previews that wait before what follows them; drops them if it is not their turn.

        Clients take a preview for one of the node that they know to execute, so none may come later.
        """
        for frame in self._previews.take(time.monotonic()):
            self._unplace(self._placed.pop(frame.node, None))
            self._placed[frame.node], self._waiting["preview", frame.node] = frame, frame
            self._placed_bytes += len(frame.data)
        while self._placed_bytes > MAX_WAITING_BYTES:
            self._unplace(self._placed.pop(next(iter(self._placed))))
        self._previews.drop()

    def _unplace(self, frame: PreviewFrame | None) -> None:
        if frame is not None:
            del self._waiting["preview", frame.node]
            self._placed_bytes -= len(frame.data)

    async def _send_loop(self) -> None:
        first = True
        while self._waiting or not self._closing:
            await self._wake.wait()
            if first:
                await self._coalesce(FIRST_S)
                first = False
            self._wake.clear()
            waiting = self._taken()
            staged, self._staged = self._staged, False
            try:
                await self._send(await self._made(waiting), staged)
            except StaleLease:
                self._on_stale()
                return
            except Exception as error:
                log.exception("a report was refused", extra={"action": "report_refused"})
                return await self._give_up(error)
            if self._waiting or self._previews:
                self._wake.set()
            await self._coalesce(COALESCE_S)

    def _taken(self) -> list[Report | _Unmade]:
        """The reports whose turn it is. Of progress and previews the rest waits, and is dropped at the end."""
        room = Room(MAX_PROGRESS_CHARACTERS)
        taken: list[Report | _Unmade] = []
        kept: dict[tuple[str, str | None], Report | _Unmade] = {}
        for key, report in self._waiting.items():
            if isinstance(report, NodeProgress) and not room.takes(_characters_of(report)):
                kept[key] = report
            else:
                taken.append(report)
        self._waiting = {} if self._closing else kept
        self._placed, self._placed_bytes = {}, 0
        last = [taken.pop()] if taken and isinstance(taken[-1], Ended | Released) else []
        return [*taken, *self._previews.take(time.monotonic()), *last]

    async def _send(self, reports: list[Report], staged: bool) -> None:
        if reports or staged:
            await self._link.report(Reports(self._lease, reports, staged))

    async def _give_up(self, error: Exception) -> None:
        """Ends the run, without its results, because they could not be reported."""
        failure = FailureReport(f"The results of the run could not be stored: {error}")
        ended = Ended(self._next(), EndReason.INTERNAL, failure=failure)
        try:
            await self._send([ended], staged=False)
        except ComfywardError:
            log.exception("the end of a run was refused", extra={"action": "end_refused"})
        self._on_stale()  # the lease is over, or expires

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


def _characters_of(report: NodeProgress) -> int:
    names = (report.node, report.display, report.parent, report.real)
    return PROGRESS_CHARACTERS + sum(len(name) for name in names if name is not None)
