"""The environments that the server wants on this worker, built and tried one after the other, while runs go on.

After a fault of the network there is a pause, which grows, and an end after many of them; any other failure is
reported, and may be ordered anew. So is an environment whose trials have ended several workers of this host.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import aiohttp
import msgspec

from comfyward.environments.child import Step
from comfyward.environments.lock import Lock, parse_lock
from comfyward.errors import ComfyUIError, ComfywardError, EnvironmentFailed, SetupFailed
from comfyward.worker import deaths, trial
from comfyward.worker.builders import Builders, MayPass
from comfyward.worker.deaths import Deaths
from comfyward.worker.engines import Engines
from comfyward.worker.environment_reports import MAX_REPORTS, EnvironmentReport, EnvironmentState
from comfyward.worker.generation import Generation
from comfyward.worker.learned import Learned, LearningOrder
from comfyward.worker.learning import Learning
from comfyward.worker.link import ServerLink
from comfyward.worker.message_bounds import MAX_MESSAGE, MAX_TEXT
from comfyward.worker.tried import Kept
from comfyward.worker.warm import WarmComfyUI

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
MOST_TRIES = 150  # in a day
LONGEST_TRIAL_S = 1800.0
FINAL = (EnvironmentState.READY, EnvironmentState.FAILED)


@dataclass(frozen=True)
class _Pause:
    """The pause before an environment is tried again."""

    tries: int
    until: float


class EnvironmentOrders:
    """Carries out the orders, and collects what is to be reported of them."""

    def __init__(
        self,
        engines: Engines,
        builders: Builders,
        comfyui: WarmComfyUI,
        link: ServerLink,
        deaths: Deaths,
        learning: Learning,
    ) -> None:
        self._engines, self._builders, self._comfyui, self._link = engines, builders, comfyui, link
        self._deaths, self._learning = deaths, learning
        self._to_learn: list[str] = []
        self._asked_to_learn: set[str] = set()
        self._given_up: set[str] = set()
        self._wanted: list[str] = []
        self._pauses: dict[str, _Pause] = {}
        self._unsent: dict[str, EnvironmentReport] = {}
        self._changed = asyncio.Event()
        self.ready_changed = asyncio.Event()
        """Set when `ready` has other environments than before."""

    def ready(self) -> list[str]:
        """The environments that are built on this worker's host, and were tried with success."""
        return self._engines.ready()

    def wanted(self, environments: Sequence[str], learn: Sequence[str] = ()) -> None:
        """Takes the server's present lists. They may be of a time before the last report.

        One of which somebody is to learn is asked for each time that it is listed, since that may be another learning
        by then; but one that was refused, only once it was not listed for a time.
        """
        self._to_learn = [each for each in learn if each not in self._asked_to_learn]
        self._asked_to_learn &= set(learn)
        self._wanted = [each for each in environments if not self._has_ended(each)]
        self._pauses = {each: pause for each, pause in self._pauses.items() if each in self._wanted}
        self._changed.set()

    def reports(self) -> list[EnvironmentReport]:
        """The reports that the server does not have yet."""
        return list(self._unsent.values())[:MAX_REPORTS]

    def sent(self, reports: Sequence[EnvironmentReport]) -> None:
        """The server has these now. One that has ended may be ordered again."""
        for report in reports:
            if self._unsent.get(report.digest) == report:
                del self._unsent[report.digest]

    def lost(self, environment: str, error: EnvironmentFailed) -> None:
        """An environment that was ready does not start, or is not there any more, and can then be built again."""
        log.error("environment %s: %s", environment[:12], error, extra={"action": "environment_lost"})
        is_built = self._engines.is_built(environment)
        self._engines.tried.remove(environment)
        self.ready_changed.set()
        state = EnvironmentState.FAILED if is_built else EnvironmentState.BUILDING
        self._report(environment, state, message=error.message, hint=error.hint or "")

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            due = self._due()
            if due is not None:
                await self._carry_out(due)
                continue
            if self._to_learn:
                await self._learn(self._to_learn.pop(0))
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _due(self) -> str | None:
        now = time.monotonic()
        waits = (each for each in self._wanted if each not in self._pauses or self._pauses[each].until <= now)
        return next(waits, None)

    def _until_next(self) -> float | None:
        ends = [self._pauses[each].until for each in self._wanted if each in self._pauses]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    async def _carry_out(self, environment: str) -> None:
        try:
            await self._make_ready(environment)
        except (MayPass, aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            self._pause(environment, error)
        except ComfywardError as error:
            self._end(environment, EnvironmentState.FAILED, message=error.message, hint=error.hint or "")
        except Exception as error:
            log.exception("environment %s: the worker failed", environment[:12], extra={"action": "worker_failed"})
            self._end(environment, EnvironmentState.FAILED, message=f"The worker failed: {error!r}.")

    async def _make_ready(self, environment: str) -> None:
        """Raises ComfywardError, MayPass and errors of the network."""
        kept = self._engines.tried.find(environment) if environment in self._engines.ready() else None
        if kept is None:
            await asyncio.to_thread(self._check_deaths, environment)
            self._report(environment, EnvironmentState.BUILDING)
            lock = await self._lock_of(environment)
            await self._builders.build(lock, lambda step: self._report_step(environment, step))
            self._report(environment, EnvironmentState.TRYING)
            kept = await self._measured(environment, await self._try(environment, lock))
        await self._link.put_trial(environment, kept.trial)  # first: a catalog belongs to an environment that was tried
        if not kept.trial.ready:
            return self._end(environment, EnvironmentState.FAILED, message=kept.trial.message, hint=kept.trial.hint)
        await self._link.put_catalog(environment, kept.catalog_digest, kept.catalog)
        await self._link.put_web_files(environment, kept.web_files)
        await asyncio.to_thread(self._engines.tried.keep, environment, kept)
        self.ready_changed.set()
        log.info("environment %s is ready", environment[:12], extra={"action": "environment_ready"})
        return self._end(environment, EnvironmentState.READY)

    async def _learn(self, environment: str) -> None:
        """Learns of an environment, if this worker gets the order. It is built first where it is not."""
        self._asked_to_learn.add(environment)
        order = None
        try:
            order = await self._link.learning_of(environment)
            if order is not None:
                await self._link.put_learned(environment, await self._learned(environment, order))
        except Exception as error:  # nothing else depends on it
            log.exception("environment %s: nothing was learned", environment[:12], extra={"action": "learning_failed"})
            if order is None:
                return
            message = error.message if isinstance(error, ComfywardError) else f"The worker failed: {error!r}."
            await self._link.put_learned(environment, Learned(order.id, message=message[:MAX_MESSAGE]))
        self._asked_to_learn.discard(environment)

    async def _learned(self, environment: str, order: LearningOrder) -> Learned:
        """Raises ComfywardError and errors of the network."""
        await self._builders.build(await self._lock_of(environment), lambda step: None)
        with self._deaths.watched(environment):
            return await self._learning.learn(self._engines.build(environment), order)

    async def _measured(self, environment: str, kept: Kept) -> Kept:
        """With the size of the build on this host's disk."""
        total, own = await asyncio.to_thread(self._engines.build(environment).sizes)
        return replace(kept, trial=msgspec.structs.replace(kept.trial, size=total, own_size=own))

    def _check_deaths(self, environment: str) -> None:
        """Raises SetupFailed once if its trials have ended so many workers; whoever orders it after that, insists."""
        if self._deaths.count(environment) < deaths.MOST:
            return
        if environment in self._given_up:
            self._given_up.discard(environment)
            return self._deaths.forget(environment)
        self._given_up.add(environment)
        raise SetupFailed(
            f"Its trial has ended {deaths.MOST} workers of this host, and is not begun again.",
            hint="The logs of the workers tell more. Once an admin asks for another trial, there is one.",
        )

    async def _lock_of(self, environment: str) -> Lock:
        lock = parse_lock(await self._link.lock_of(environment))
        if lock.digest != environment:
            raise SetupFailed(f"The server's lock is not that of {environment[:12]}.")
        return lock

    async def _try(self, environment: str, lock: Lock) -> Kept:
        async with self._comfyui.on_trial(environment) as comfyui:
            with self._deaths.watched(environment):
                return await _tried(comfyui, [pack.folder for pack in lock.packs])

    def _pause(self, environment: str, error: BaseException) -> None:
        tries = self._pauses[environment].tries + 1 if environment in self._pauses else 0
        message = error.message if isinstance(error, ComfywardError) else str(error) or type(error).__name__
        if tries >= MOST_TRIES:
            return self._end(environment, EnvironmentState.FAILED, message=f"After {tries} tries: {message}")
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**tries)
        self._pauses[environment] = _Pause(tries, time.monotonic() + pause_s)
        log.warning("environment %s: %s", environment[:12], message, extra={"action": "environment_waits"})
        step = f"Trying again in {pause_s:.0f} s"
        self._report(environment, EnvironmentState.BUILDING, step=step, message=message)

    def _report_step(self, environment: str, step: Step) -> None:
        self._report(environment, EnvironmentState.BUILDING, step=step.step, part=step.part)

    def _end(self, environment: str, state: EnvironmentState, *, message: str = "", hint: str = "") -> None:
        if state is EnvironmentState.FAILED:
            log.error("environment %s: %s", environment[:12], message, extra={"action": "environment_failed"})
        self._wanted = [each for each in self._wanted if each != environment]
        self._pauses.pop(environment, None)
        self._report(environment, state, message=message, hint=hint)

    def _report(
        self,
        environment: str,
        state: EnvironmentState,
        *,
        step: str = "",
        part: float | None = None,
        message: str = "",
        hint: str = "",
    ) -> None:
        part = None if part is None else min(max(part, 0.0), 1.0)
        self._unsent[environment] = EnvironmentReport(
            environment, state, step[:MAX_TEXT], part, message[:MAX_MESSAGE], hint[-MAX_MESSAGE:]
        )

    def _has_ended(self, environment: str) -> bool:
        """True if the server does not know yet that it has ended."""
        report = self._unsent.get(environment)
        return report is not None and report.state in FINAL


async def _tried(comfyui: Generation, packs: Sequence[str]) -> Kept:
    """The trial of a ComfyUI, good or bad."""
    try:
        async with asyncio.timeout(LONGEST_TRIAL_S):
            return await trial.tried(comfyui, packs)
    except TimeoutError:
        error: SetupFailed | ComfyUIError = SetupFailed(f"The trial took longer than {LONGEST_TRIAL_S:.0f} s.")
    except (SetupFailed, ComfyUIError) as failed:
        error = failed
    return Kept(trial.failed(error, comfyui.log_tail()), "", b"", b"")
