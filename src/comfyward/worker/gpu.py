"""The accelerator of a worker: one run executes on it at a time, in a ComfyUI of its own account and environment."""

from __future__ import annotations

import contextlib
import logging
import time

from comfyward.comfy.run_folders import StagedFile
from comfyward.errors import ComfyUIError, EnvironmentFailed, SetupFailed
from comfyward.runs.run import EndReason
from comfyward.worker.attempt import Attempt, Executed, Failed
from comfyward.worker.attempts import Attempts
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.execute import Execution
from comfyward.worker.generation import Generation
from comfyward.worker.model_keeper import ModelKeeper
from comfyward.worker.protocol import FailureReport
from comfyward.worker.unless import unless
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

WEIGH_EVERY_S = 10.0


class Gpu:
    """A run that enters it has it until `leave`. What it did to ComfyUI is mended before the next one."""

    def __init__(
        self,
        comfyui: WarmComfyUI,
        models: ModelKeeper,
        environments: EnvironmentOrders,
        attempts: Attempts,
        memory_limit_bytes: int,
    ) -> None:
        """Above `memory_limit_bytes`, ComfyUI is started anew between two runs."""
        self.comfyui, self.models, self._environments, self._attempts = comfyui, models, environments, attempts
        self._memory_limit_bytes = memory_limit_bytes
        self._weighed_at = float("-inf")

    async def close(self) -> None:
        await self.comfyui.close()
        self.models.close()

    async def enter(self, attempt: Attempt, files: list[StagedFile]) -> bool:
        """Waits for the GPU. Returns False if the run is halted or recalled, or the worker drained, before its turn."""
        if attempt.halt:
            return False
        turn = self.comfyui.turn
        if not turn.locked():
            return await turn.acquire()
        attempt.reporter.staged()
        with self.models.read_ahead(attempt.assignment.models, files):
            return await unless(turn.acquire(), attempt.halt, attempt.recalled, self._attempts.draining) is True

    def leave(self) -> None:
        self.comfyui.turn.release()

    async def comfyui_of(self, attempt: Attempt) -> Generation | None:
        """The running ComfyUI of the run's account and environment; None if this worker has none. Raises Failed."""
        environment = attempt.assignment.environment
        try:
            return await self.comfyui.of(environment, attempt.assignment.account)
        except EnvironmentFailed as error:
            self._environments.lost(environment, error)
            return None
        except SetupFailed as error:
            self._give_up(error)
            raise Failed(EndReason.COMFYUI_CRASHED, FailureReport(error.message, error.hint)) from error

    async def execute(self, execution: Execution, comfyui: Generation, files: list[StagedFile]) -> Executed:
        """Raises Failed if the run did not succeed."""
        try:
            executed = await execution.execute(files)
        except Failed as failed:
            await self._recover(comfyui, failed.ended.reason)
            raise
        comfyui.loaded(execution.models)
        self.models.executed(execution.models, files)
        return executed

    async def recycle(self) -> None:
        """Restarts ComfyUI between two runs when its memory is above the limit: it leaks."""
        if time.monotonic() - self._weighed_at < WEIGH_EVERY_S:
            return
        self._weighed_at = time.monotonic()
        if self.comfyui.current.memory_bytes() > self._memory_limit_bytes:
            log.warning("ComfyUI uses too much memory; starting it anew", extra={"action": "comfyui_recycled"})
            self.comfyui.current.distrust()
            await self._mend()

    async def _recover(self, comfyui: Generation, reason: EndReason) -> None:
        """Protects the next run from the effects of the last one on ComfyUI."""
        match reason:
            case EndReason.OOM:
                with contextlib.suppress(ComfyUIError):
                    await comfyui.client.free()
            case EndReason.GPU_FAULT | EndReason.INTERNAL | EndReason.OVER_LIMIT:
                comfyui.distrust()
        if not comfyui.is_healthy:
            self._attempts.begin(self._mend())

    async def _mend(self) -> None:
        """Restarts ComfyUI now, not when the next run waits for it."""
        async with self.comfyui.turn:
            try:
                await self.comfyui.ensure()
            except SetupFailed as error:
                self._give_up(error)

    def _give_up(self, error: SetupFailed) -> None:
        """A worker without ComfyUI must not eat the queue: it leaves, and its host starts it anew."""
        log.error("ComfyUI does not start: %s", error, extra={"action": "comfyui_does_not_start"})
        self._attempts.drain()
