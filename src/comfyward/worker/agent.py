"""The worker's main loop: it asks for work, and stages, executes and collects runs.

Up to three runs are in progress, one in each stage. A worker relies on its lease only while the server renews it;
without renewal it stops ComfyUI by itself.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from comfyward.comfy.run_folders import StagedFile
from comfyward.errors import ComfyUIError, ComfywardError, SetupFailed, StaleLease, Unauthenticated
from comfyward.runs.run import EndReason
from comfyward.worker.collect import Collect, Gathering
from comfyward.worker.execute import Execute
from comfyward.worker.job import Executed, Failed, Job
from comfyward.worker.link import ServerLink
from comfyward.worker.memory import memory_of
from comfyward.worker.places import Places
from comfyward.worker.protocol import (
    PROTOCOL,
    Ask,
    Assignment,
    Ended,
    FailureReport,
    Goodbye,
    Heartbeat,
    Hello,
    Memory,
    Vitals,
    WorkerInfo,
)
from comfyward.worker.reporter import Reporter
from comfyward.worker.stage import Stage
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

T = TypeVar("T")

ASK_WAIT_S = 25.0
HEARTBEATS_PER_LEASE = 4
SHORTEST_WAIT_S = 0.1
WEIGH_EVERY_S = 10.0
VITALS_EVERY_S = 10.0
REMEMBERED_RUNS = 8


@dataclass
class Agent:
    """One worker: one accelerator, one warm ComfyUI."""

    info: WorkerInfo
    link: ServerLink
    comfyui: WarmComfyUI
    stage: Stage
    execute: Execute
    collect: Collect
    places: Places
    memory_limit_bytes: int
    log_tail: Callable[[], str] = lambda: ""
    lease_s: float = 15.0
    _jobs: dict[str, Job] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _gpu: asyncio.Lock = field(default_factory=asyncio.Lock)
    _staging: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _drain: asyncio.Event = field(default_factory=asyncio.Event)
    _weighed_at: float = float("-inf")
    _vitals_at: float = float("-inf")
    _memory: Memory | None = None
    _warm: collections.deque[list[str]] = field(default_factory=lambda: collections.deque(maxlen=REMEMBERED_RUNS))

    def drain(self) -> None:
        """Takes no more runs; `run` returns when those in progress are done."""
        self._drain.set()

    async def run(self) -> None:
        """Works until it is drained. Raises SetupFailed if ComfyUI does not start, Unauthenticated for an invalid
        token."""
        try:
            self.stage.cache.unpin_all(self.info.id)
            await self.comfyui.ensure()
            await self._hello()
            await self._serve()
        finally:
            await self.comfyui.stop()
            await self.stage.close()
            await self.link.close()

    async def _serve(self) -> None:
        heartbeats = asyncio.create_task(self._heartbeat_loop(), name="heartbeat")
        try:
            await self._lease_loop()
            while self._tasks:
                await asyncio.wait(self._tasks)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                await self.link.goodbye(Goodbye(self.info.id, self.info.incarnation))
        finally:
            heartbeats.cancel()
            await asyncio.gather(heartbeats, *self._tasks, return_exceptions=True)

    async def _hello(self) -> None:
        digest, body = await self.comfyui.catalog()
        welcome = await self.link.hello(Hello(self.info, digest, PROTOCOL))
        self.lease_s = welcome.lease_s
        if welcome.wants_catalog:
            await self.link.put_catalog(self.info.environment, digest, body)
        log.info("worker %s serves pool %s", self.info.id, self.info.pool, extra={"action": "worker_ready"})

    async def _lease_loop(self) -> None:
        """Asks for runs. One run is staged ahead of the one that executes, never more."""
        draining = asyncio.create_task(self._drain.wait())
        try:
            while not draining.done():
                if not await _unless(draining, self._staging.acquire()):
                    return
                assignment = await _unless(draining, self._next())
                if assignment is None:
                    self._staging.release()
                    continue
                self._take(assignment)
        finally:
            draining.cancel()

    async def _next(self) -> Assignment | None:
        try:
            return await self.link.ask(self._ask())
        except StaleLease:  # the server does not know this worker (any more)
            await self._hello()
            return None

    def _ask(self) -> Ask:
        idle = not self._gpu.locked() and not self._jobs
        return Ask(self.info.id, self.info.incarnation, idle, self._warm_models(), list(self._jobs), ASK_WAIT_S)

    def _warm_models(self) -> list[str]:
        return sorted({name for models in self._warm for name in models})

    def _take(self, assignment: Assignment) -> None:
        lost = asyncio.Event()
        job = Job(assignment, Reporter(self.link, assignment.lease, lost), lost)
        self._jobs[job.lease] = job
        self._begin(self._work(job))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task that a draining worker waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, job: Job) -> None:
        """Takes a run through the three stages; reports nothing if the lease is lost."""
        try:
            ended = await self._stages(job)
            if job.lost.is_set():
                await job.reporter.drop()
            elif ended is None:
                await job.reporter.released()
            else:
                await job.reporter.ended(self.places.told(ended))
        except StaleLease:
            await job.reporter.drop()
        except Exception as error:
            log.exception("run %s: the worker failed", job.assignment.run_id, extra={"action": "worker_failed"})
            ended = Ended(0, EndReason.INTERNAL, failure=FailureReport(f"The worker failed: {error!r}."))
            await job.reporter.ended(self.places.told(ended))
        finally:
            self._jobs.pop(job.lease, None)
            self.stage.unstage(job)
            await self.execute.clean_up(job)
        await self._recycle()

    async def _stages(self, job: Job) -> Ended | None:
        """The end of the run; None if a draining worker did not start it."""
        staged_ahead = contextlib.ExitStack()
        staged_ahead.callback(self._staging.release)
        try:
            files = await self.stage.stage(job)
            if not await self._enter_gpu(job):
                return None if self._drain.is_set() and not job.cancelled.is_set() else Ended(0, EndReason.CANCELLED)
            return await self._on_gpu(job, files, staged_ahead)
        except Failed as failed:
            return failed.ended
        finally:
            staged_ahead.close()

    async def _on_gpu(self, job: Job, files: list[StagedFile], staged_ahead: contextlib.ExitStack) -> Ended:
        """Executes a run that has the GPU, releases the GPU, and collects the results, however the run ended."""
        gathering = self.collect.begin(job, self.places)
        try:
            try:
                staged_ahead.close()  # the next run may be staged
                executed = await self._execute(job, files, gathering)
            finally:
                self._gpu.release()
            return await gathering.finish(executed)
        except Failed as failed:
            return failed.ended if job.lost.is_set() else await gathering.salvage(failed.ended)
        finally:
            gathering.drop()

    async def _enter_gpu(self, job: Job) -> bool:
        """Waits for the GPU. Returns False if the run is halted, or the worker drained, before its turn."""
        if job.halted:
            return False
        if not self._gpu.locked():
            return await self._gpu.acquire()
        job.reporter.staged()
        halting, draining = asyncio.create_task(job.halt()), asyncio.create_task(self._drain.wait())
        try:
            return await _unless(halting, self._gpu.acquire(), draining) is True
        finally:
            halting.cancel()
            draining.cancel()

    async def _execute(self, job: Job, files: list[StagedFile], gathering: Gathering) -> Executed:
        try:
            executed = await self.execute.execute(job, files, gathering)
        except SetupFailed as error:
            # A worker without ComfyUI must not eat the queue: it leaves, and its host starts it anew.
            self.drain()
            raise Failed(EndReason.COMFYUI_CRASHED, FailureReport(error.message, error.hint)) from error
        except Failed as failed:
            await self._recover(failed.ended.reason)
            raise
        self._warm.append(job.assignment.models)
        return executed

    async def _recover(self, reason: EndReason) -> None:
        """Protects the next run from the effects of the last one on ComfyUI."""
        match reason:
            case EndReason.OOM:
                with contextlib.suppress(ComfyUIError):
                    await self.comfyui.client.free()
            case EndReason.GPU_FAULT | EndReason.INTERNAL:
                self.comfyui.distrust()
        if not self.comfyui.is_healthy:
            self._warm.clear()
            self._begin(self._mend())

    async def _mend(self) -> None:
        """Restarts ComfyUI now, not when the next run waits for it."""
        async with self._gpu:
            try:
                await self.comfyui.ensure()
            except SetupFailed as error:
                log.error("ComfyUI does not start again: %s", error, extra={"action": "comfyui_does_not_start"})
                self.drain()

    async def _recycle(self) -> None:
        """Restarts ComfyUI between two runs when its memory is above the limit: it leaks."""
        if time.monotonic() - self._weighed_at < WEIGH_EVERY_S:
            return
        self._weighed_at = time.monotonic()
        if self.comfyui.memory_bytes() > self.memory_limit_bytes:
            log.warning("ComfyUI uses too much memory; starting it anew", extra={"action": "comfyui_recycled"})
            self.comfyui.distrust()
            self._warm.clear()
            await self._mend()

    async def _heartbeat_loop(self) -> None:
        """Renews the leases, and gives them up when the server has been silent for as long as they last."""
        renewed_at = time.monotonic()
        while True:
            leases = [lease for lease, job in self._jobs.items() if not job.lost.is_set()]
            sent_at = time.monotonic()
            left_s = max(SHORTEST_WAIT_S, renewed_at + self.lease_s - sent_at)
            # After a late answer the next one is wanted soon: only an answer tells that the leases were renewed.
            wait_s = min(self.lease_s, left_s) / HEARTBEATS_PER_LEASE
            try:
                vitals = await self._vitals()
                beat = Heartbeat(self.info.id, self.info.incarnation, leases, wait_s, vitals)
                async with asyncio.timeout(left_s):
                    orders = await self.link.heartbeat(beat)
            except Unauthenticated:
                log.error("the server no longer accepts this worker", extra={"action": "worker_refused"})
                self._lose(list(self._jobs))
                return self.drain()
            except (aiohttp.ClientError, TimeoutError, OSError, ComfywardError) as error:
                log.warning("heartbeat failed: %s", error or type(error).__name__, extra={"action": "heartbeat_failed"})
                if time.monotonic() - renewed_at >= self.lease_s:
                    self._lose(list(self._jobs))
                    renewed_at = time.monotonic()
                await asyncio.sleep(SHORTEST_WAIT_S)
                continue
            renewed_at = sent_at
            self._lose(orders.lost)
            for lease in orders.cancel:
                if job := self._jobs.get(lease):
                    job.cancel()
            if orders.drain:
                self.drain()
            if orders.log:
                self._begin(self._send_log())

    async def _vitals(self) -> Vitals | None:
        """The vitals of this worker, every few seconds: measuring a cache takes time."""
        if time.monotonic() - self._vitals_at < VITALS_EVERY_S:
            return None
        self._vitals_at = time.monotonic()
        cache, comfyui = self.stage.cache, self.comfyui
        memory, cached = await asyncio.to_thread(lambda: (comfyui.memory_bytes(), cache.size_bytes()))
        self._memory = await memory_of(comfyui) or self._memory
        return Vitals(self._warm_models(), memory, cached, cache.limit_bytes, cache.hits, cache.misses, self._memory)

    async def _send_log(self) -> None:
        text = f"{self.log_tail()}\n--- ComfyUI ---\n{self.comfyui.log_tail()}"
        try:
            await self.link.put_log(self.info.id, self.info.incarnation, text)
        except (aiohttp.ClientError, TimeoutError, OSError, ComfywardError) as error:
            log.warning("the log could not be sent: %s", error, extra={"action": "log_not_sent"})

    def _lose(self, leases: list[str]) -> None:
        for lease in leases:
            if job := self._jobs.get(lease):
                log.warning("run %s: the lease is lost", job.assignment.run_id, extra={"action": "lease_lost"})
                job.lose()


async def _unless(stop: asyncio.Task[Any], wanted: Coroutine[Any, Any, T], *more: asyncio.Task[Any]) -> T | None:
    """The result of `wanted`, or None if one of the others completes first; `wanted` is then undone."""
    task = asyncio.create_task(wanted)
    await asyncio.wait({task, stop, *more}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
