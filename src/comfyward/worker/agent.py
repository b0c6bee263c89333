"""The worker's main loop: it asks for work, and stages, executes and collects runs.

One run executes, while the next one is staged and the last one collected. A worker relies on its lease only while the
server renews it; without renewal it stops ComfyUI by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import msgspec

from comfyward.comfy.run_folders import StagedFile
from comfyward.errors import (
    ComfyUIError,
    ComfywardError,
    EnvironmentFailed,
    InvalidRequest,
    SetupFailed,
    StaleLease,
    Unauthenticated,
)
from comfyward.runs.run import DEFAULT_ENVIRONMENT, EndReason
from comfyward.worker.ahead import Ahead, Place
from comfyward.worker.collect import Collect
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.execute import Execution
from comfyward.worker.generation import Generation
from comfyward.worker.job import Executed, Failed, Halt, Job
from comfyward.worker.link import ServerLink
from comfyward.worker.model_keeper import ModelKeeper
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
    WorkerInfo,
)
from comfyward.worker.registration import registered
from comfyward.worker.reporter import Reporter
from comfyward.worker.stage import Stage
from comfyward.worker.vital_signs import VitalSigns
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

T = TypeVar("T")

ASK_WAIT_S = 25.0
HEARTBEATS_PER_LEASE = 4
SHORTEST_WAIT_S = 0.1
WEIGH_EVERY_S = 10.0


@dataclass
class Agent:
    """One worker: one accelerator, one warm ComfyUI at a time."""

    info: WorkerInfo
    link: ServerLink
    comfyui: WarmComfyUI
    environments: EnvironmentOrders
    vital_signs: VitalSigns
    stage: Stage
    models: ModelKeeper
    collect: Collect
    places: Places
    memory_limit_bytes: int
    log_tail: Callable[[], str] = lambda: ""
    lease_s: float = 15.0
    _jobs: dict[str, Job] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _ahead: Ahead = field(default_factory=Ahead)
    _drain: asyncio.Event = field(default_factory=asyncio.Event)
    _weighed_at: float = float("-inf")

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
            await self.comfyui.close()
            await self.stage.close()
            self.models.close()
            await self.link.close()

    async def _serve(self) -> None:
        heartbeats = asyncio.create_task(self._heartbeat_loop(), name="heartbeat")
        environments = asyncio.create_task(self.environments.run(), name="environments")
        try:
            await self.ask_for_runs()
            while self._tasks:
                await asyncio.wait(self._tasks)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                await self.link.goodbye(Goodbye(self.info.id, self.info.incarnation))
        finally:
            heartbeats.cancel()
            environments.cancel()
            await asyncio.gather(heartbeats, environments, *self._tasks, return_exceptions=True)

    async def _hello(self) -> None:
        digest, body = await self.comfyui.catalog()
        info = msgspec.structs.replace(self.info, ready=self.environments.ready())
        welcome = await registered(self.link, Hello(info, digest, PROTOCOL), self._drain)
        if welcome is None:
            return
        self.lease_s = welcome.lease_s
        if welcome.wants_catalog:
            try:
                await self.link.put_catalog(self.info.environment, digest, body)
            except InvalidRequest as refused:  # the server shows it, and validates with the catalog that it had
                log.error("the catalog was refused: %s", refused, extra={"action": "catalog_refused"})
        log.info("worker %s serves pool %s", self.info.id, self.info.pool, extra={"action": "worker_ready"})

    async def ask_for_runs(self) -> None:
        """Asks for a run whenever there is a place for one, until it is drained."""
        draining = asyncio.create_task(self._drain.wait())
        try:
            while not draining.done():
                place = await _unless(draining, self._ahead.take())
                if place is None:
                    return
                assignment = await self._next_unless(draining)
                if assignment is None:
                    place.leave()
                else:
                    self._take(assignment, place)
        finally:
            draining.cancel()

    async def _next_unless(self, draining: asyncio.Task[Any]) -> Assignment | None:
        """The next run; None if the worker is drained, or is not any more as it told when it asked: it asks anew.

        It has other environments, or fetches the files of fewer runs: an account with enough of these gets no more.
        """
        changes = self.environments.ready_changed, self._ahead.fetched
        for change in changes:
            change.clear()
        changing = [asyncio.create_task(change.wait()) for change in changes]
        try:
            return await _unless(draining, self._next(), *changing)
        finally:
            for task in changing:
                task.cancel()

    async def _next(self) -> Assignment | None:
        try:
            return await self.link.ask(self._ask())
        except StaleLease:  # the server does not know this worker (any more)
            await self._hello()
            return None

    def _ask(self) -> Ask:
        fetching = [job.assignment.account for job in self._jobs.values() if job.place.is_fetching]
        environment = self.comfyui.current.environment
        return Ask(
            self.info.id,
            self.info.incarnation,
            idle=not self.comfyui.turn.locked() and len(fetching) == len(self._jobs),
            warm=self.comfyui.current.models,
            holding=list(self._jobs),
            wait_s=ASK_WAIT_S,
            account=self.comfyui.account,
            staging=fetching,
            environment="" if environment == DEFAULT_ENVIRONMENT else environment,
            ready=self.environments.ready(),
            in_memory=self.models.names,
        )

    def _take(self, assignment: Assignment, place: Place) -> None:
        halt = Halt()
        job = Job(assignment, Reporter(self.link, assignment.lease, halt.lose), place, halt)
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
            if job.halt.is_lost:
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
            await self.collect.forget(job)
        await self._recycle()

    async def _stages(self, job: Job) -> Ended | None:
        """The end of the run; None if a draining worker did not start it."""
        try:
            self.comfyui.prepare(job.assignment.environment, job.assignment.account)
            job.place.fetching()
            files = await self.stage.stage(job)
            job.place.ready()
            if not await self._enter_gpu(job, files):
                return None if self._drain.is_set() and not job.halt.is_cancelled else Ended(0, EndReason.CANCELLED)
            return await self._on_gpu(job, files)
        except Failed as failed:
            return failed.ended
        finally:
            job.place.leave()

    async def _on_gpu(self, job: Job, files: list[StagedFile]) -> Ended | None:
        """Executes a run that has the GPU, releases the GPU, and collects the results, however the run ended.

        None if there is no ComfyUI for it here.
        """
        with contextlib.ExitStack() as gpu:
            gpu.callback(self.comfyui.turn.release)
            job.place.leave()  # the next run may be staged
            comfyui = await self._comfyui_of(job)
            if comfyui is None:
                return None
            gathering = self.collect.begin(job, comfyui.base, self.places)
            try:
                executed = await self._execute(Execution(comfyui, job, gathering), comfyui, files)
                gpu.close()
                return await gathering.finish(executed)
            except Failed as failed:
                gpu.close()
                return failed.ended if job.halt.is_lost else await gathering.salvage(failed.ended)
            finally:
                gathering.drop()

    async def _enter_gpu(self, job: Job, files: list[StagedFile]) -> bool:
        """Waits for the GPU. Returns False if the run is halted, or the worker drained, before its turn."""
        if job.halt:
            return False
        turn = self.comfyui.turn
        if not turn.locked():
            return await turn.acquire()
        job.reporter.staged()
        halting, draining = asyncio.create_task(job.halt.wait()), asyncio.create_task(self._drain.wait())
        try:
            with self.models.read_ahead(job.assignment.models, files):
                return await _unless(halting, turn.acquire(), draining) is True
        finally:
            halting.cancel()
            draining.cancel()

    async def _comfyui_of(self, job: Job) -> Generation | None:
        """The running ComfyUI of the run's account and environment; None if this worker has none. Raises Failed."""
        environment = job.assignment.environment
        try:
            return await self.comfyui.of(environment, job.assignment.account)
        except EnvironmentFailed as error:
            self.environments.lost(environment, error)
            return None
        except SetupFailed as error:
            self._leave(error)
            raise Failed(EndReason.COMFYUI_CRASHED, FailureReport(error.message, error.hint)) from error

    async def _execute(self, execution: Execution, comfyui: Generation, files: list[StagedFile]) -> Executed:
        try:
            executed = await execution.execute(files)
        except Failed as failed:
            await self._recover(comfyui, failed.ended.reason)
            raise
        comfyui.loaded(execution.models)
        self.models.executed(execution.models, files)
        return executed

    async def _recover(self, comfyui: Generation, reason: EndReason) -> None:
        """Protects the next run from the effects of the last one on ComfyUI."""
        match reason:
            case EndReason.OOM:
                with contextlib.suppress(ComfyUIError):
                    await comfyui.client.free()
            case EndReason.GPU_FAULT | EndReason.INTERNAL | EndReason.OVER_LIMIT:
                comfyui.distrust()
        if not comfyui.is_healthy:
            self._begin(self._mend())

    async def _mend(self) -> None:
        """Restarts ComfyUI now, not when the next run waits for it."""
        async with self.comfyui.turn:
            try:
                await self.comfyui.ensure()
            except SetupFailed as error:
                self._leave(error)

    def _leave(self, error: SetupFailed) -> None:
        """A worker without ComfyUI must not eat the queue: it leaves, and its host starts it anew."""
        log.error("ComfyUI does not start: %s", error, extra={"action": "comfyui_does_not_start"})
        self.drain()

    async def _recycle(self) -> None:
        """Restarts ComfyUI between two runs when its memory is above the limit: it leaks."""
        if time.monotonic() - self._weighed_at < WEIGH_EVERY_S:
            return
        self._weighed_at = time.monotonic()
        if self.comfyui.current.memory_bytes() > self.memory_limit_bytes:
            log.warning("ComfyUI uses too much memory; starting it anew", extra={"action": "comfyui_recycled"})
            self.comfyui.current.distrust()
            await self._mend()

    async def _heartbeat_loop(self) -> None:
        """Renews the leases, and gives them up when the server has been silent for as long as they last."""
        renewed_at = time.monotonic()
        while True:
            leases = [lease for lease, job in self._jobs.items() if not job.halt.is_lost]
            sent_at = time.monotonic()
            left_s = max(SHORTEST_WAIT_S, renewed_at + self.lease_s - sent_at)
            # After a late answer the next one is wanted soon: only an answer tells that the leases were renewed.
            wait_s = min(self.lease_s, left_s) / HEARTBEATS_PER_LEASE
            try:
                vitals = await self.vital_signs.read()
                told = self.environments.reports()
                beat = Heartbeat(self.info.id, self.info.incarnation, leases, wait_s, vitals, told)
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
            self.environments.sent(told)
            self.environments.wanted(orders.environments, orders.learn)
            self.models.pin(orders.models)
            self._lose(orders.lost)
            for lease in orders.cancel:
                if job := self._jobs.get(lease):
                    job.halt.cancel()
            if orders.drain:
                self.drain()
            if orders.log:
                self._begin(self._send_log())

    async def _send_log(self) -> None:
        text = f"{self.log_tail()}\n--- ComfyUI ---\n{self.comfyui.current.log_tail()}"
        try:
            await self.link.put_log(self.info.id, self.info.incarnation, text)
        except (aiohttp.ClientError, TimeoutError, OSError, ComfywardError) as error:
            log.warning("the log could not be sent: %s", error, extra={"action": "log_not_sent"})

    def _lose(self, leases: list[str]) -> None:
        for lease in leases:
            if job := self._jobs.get(lease):
                log.warning("run %s: the lease is lost", job.assignment.run_id, extra={"action": "lease_lost"})
                job.halt.lose()


async def _unless(stop: asyncio.Task[Any], wanted: Coroutine[Any, Any, T], *more: asyncio.Task[Any]) -> T | None:
    """The result of `wanted`, or None if one of the others completes first; `wanted` is then undone."""
    task = asyncio.create_task(wanted)
    await asyncio.wait({task, stop, *more}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None
