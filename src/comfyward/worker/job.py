"""One assignment in the worker's three stages, and the signals that stop it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from comfyward.comfy.client import History
from comfyward.files.stop import Stop
from comfyward.ids import new_uuid
from comfyward.runs.run import EndReason
from comfyward.worker.ahead import Place
from comfyward.worker.protocol import Assignment, Ended, FailureReport
from comfyward.worker.reporter import Reporter


@dataclass(frozen=True)
class Executed:
    """ComfyUI's results of a run that succeeded."""

    history: History
    run_time_ms: int
    log: str


@dataclass
class Job:
    """`cancelled` and `lost` are set by the heartbeat; `halt` returns when either is.

    `prompt_id` is ComfyUI's id of this attempt. Each attempt has its own: ComfyUI may interrupt a lost attempt late,
    and must not stop the next attempt at the same run.
    """

    assignment: Assignment
    reporter: Reporter
    place: Place
    lost: asyncio.Event
    prompt_id: str = field(default_factory=new_uuid)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    stop_downloads: Stop = field(default_factory=Stop)

    @property
    def lease(self) -> str:
        return self.assignment.lease

    @property
    def halted(self) -> bool:
        return self.cancelled.is_set() or self.lost.is_set()

    def cancel(self) -> None:
        self.cancelled.set()
        self.stop_downloads.set()

    def lose(self) -> None:
        self.lost.set()
        self.stop_downloads.set()

    async def halt(self) -> None:
        """Returns when the run is cancelled or its lease is lost."""
        waiters = [asyncio.create_task(event.wait()) for event in (self.cancelled, self.lost)]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()


class Failed(Exception):
    """Raised by a stage to end the attempt."""

    def __init__(
        self,
        reason: EndReason,
        failure: FailureReport | None = None,
        *,
        run_time_ms: int | None = None,
        log: str = "",
    ) -> None:
        super().__init__(reason)
        self.ended = Ended(0, reason, failure=failure, run_time_ms=run_time_ms, log=log)
