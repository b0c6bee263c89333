"""A run's way through a worker: staged, executed, collected, reported.

One run executes, while the next one is staged and the last one collected.
"""

from __future__ import annotations

import contextlib
import logging

from comfyward.comfy.run_folders import StagedFile
from comfyward.errors import StaleLease
from comfyward.runs.run import EndReason
from comfyward.worker.attempt import Attempt, Failed
from comfyward.worker.attempts import Attempts
from comfyward.worker.collect import Collect
from comfyward.worker.execute import Execution
from comfyward.worker.gpu import Gpu
from comfyward.worker.places import Places
from comfyward.worker.protocol import Ended, FailureReport
from comfyward.worker.stage import Stage

log = logging.getLogger(__name__)


class Pipeline:
    """The three stages of one worker."""

    def __init__(self, stage: Stage, gpu: Gpu, collect: Collect, places: Places, attempts: Attempts) -> None:
        self._stage, self._gpu, self._collect, self._places, self._attempts = stage, gpu, collect, places, attempts

    async def open(self) -> None:
        """Starts ComfyUI. Raises SetupFailed."""
        self._stage.unstage_all()
        await self._gpu.comfyui.ensure()

    async def close(self) -> None:
        await self._gpu.close()
        await self._stage.close()

    async def work(self, attempt: Attempt) -> None:
        """Takes a run through the three stages; reports nothing if the lease is lost."""
        try:
            ended = await self._stages(attempt)
            if attempt.halt.is_lost:
                await attempt.reporter.drop()
            elif ended is None:
                await attempt.reporter.released()
            else:
                await attempt.reporter.ended(self._places.redacted(ended))
        except StaleLease:
            await attempt.reporter.drop()
        except Exception as error:
            log.exception("run %s: the worker failed", attempt.assignment.run_id, extra={"action": "worker_failed"})
            ended = Ended(0, EndReason.INTERNAL, failure=FailureReport(f"The worker failed: {error!r}."))
            await attempt.reporter.ended(self._places.redacted(ended))
        finally:
            self._attempts.remove(attempt)
            self._stage.unstage(attempt)
            await self._collect.forget(attempt)
        await self._gpu.recycle()

    async def _stages(self, attempt: Attempt) -> Ended | None:
        """The end of the run; None if it is given back unstarted: the worker drains, or the server recalled it."""
        try:
            self._gpu.comfyui.prepare(attempt.assignment.environment, attempt.assignment.account)
            attempt.place.fetching()
            files = await self._stage.stage(attempt)
            attempt.place.ready()
            if await self._gpu.enter(attempt, files):
                return await self._on_gpu(attempt, files)
            is_given_back = self._attempts.draining.is_set() or attempt.recalled.is_set()
            return None if is_given_back and not attempt.halt.is_cancelled else Ended(0, EndReason.CANCELLED)
        except Failed as failed:
            return failed.ended
        finally:
            attempt.place.leave()

    async def _on_gpu(self, attempt: Attempt, files: list[StagedFile]) -> Ended | None:
        """Executes a run that has the GPU, leaves the GPU, and collects the results, however the run ended.

        None if there is no ComfyUI for it here.
        """
        with contextlib.ExitStack() as gpu:
            gpu.callback(self._gpu.leave)
            attempt.place.leave()  # the next run may be staged
            comfyui = await self._gpu.comfyui_of(attempt)
            if comfyui is None:
                return None
            gathering = self._collect.begin(attempt, comfyui.base, self._places)
            try:
                executed = await self._gpu.execute(Execution(comfyui, attempt, gathering), comfyui, files)
                gpu.close()
                return await gathering.finish(executed)
            except Failed as failed:
                gpu.close()
                return failed.ended if attempt.halt.is_lost else await gathering.salvage(failed.ended)
            finally:
                gathering.drop()
