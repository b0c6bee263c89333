"""One attempt at a run in the worker's three stages, and what stops it."""

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


class Halt:
    """The signal that stops a run: it is cancelled, or its lease is lost. Either ends its downloads."""

    def __init__(self) -> None:
        self.is_cancelled = self.is_lost = False
        self.downloads = Stop()
        self._either = asyncio.Event()

    def cancel(self) -> None:
        self.is_cancelled = True
        self._set()

    def lose(self) -> None:
        self.is_lost = True
        self._set()

    async def wait(self) -> None:
        """Returns when the run is cancelled or its lease is lost."""
        await self._either.wait()

    def __bool__(self) -> bool:
        return self.is_cancelled or self.is_lost

    def _set(self) -> None:
        self._either.set()
        self.downloads.set()


@dataclass
class Attempt:
    """`halt` is told by the heartbeat, and by a report that comes too late.

    `recalled` is set once the server wants the run back for an idle worker; a run that has the GPU by then goes on.

    `prompt_id` is ComfyUI's id of this attempt. Each attempt has its own: ComfyUI may interrupt a lost attempt late,
    and must not stop the next attempt at the same run.
    """

    assignment: Assignment
    reporter: Reporter
    place: Place
    halt: Halt
    recalled: asyncio.Event = field(default_factory=asyncio.Event)
    prompt_id: str = field(default_factory=new_uuid)

    @property
    def lease(self) -> str:
        return self.assignment.lease


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
