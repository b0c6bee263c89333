"""A worker's asks for runs: it says what it has warm, and the server chooses."""

from __future__ import annotations

from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.worker.ahead import Ahead, Place
from comfyward.worker.attempt import Attempt, Halt
from comfyward.worker.attempts import Attempts
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.gpu import Gpu
from comfyward.worker.link import ServerLink
from comfyward.worker.protocol import Ask, Assignment, WorkerInfo
from comfyward.worker.reporter import Reporter
from comfyward.worker.unless import unless

ASK_WAIT_S = 25.0


class Asks:
    """Each ask is held by the server until there is a run."""

    def __init__(
        self,
        info: WorkerInfo,
        link: ServerLink,
        gpu: Gpu,
        environments: EnvironmentOrders,
        attempts: Attempts,
        ahead: Ahead,
    ) -> None:
        self._info, self._link, self._gpu, self._environments = info, link, gpu, environments
        self._attempts, self._ahead = attempts, ahead

    async def next(self) -> Attempt | None:
        """The next run, with a place to be staged in; None if there was none for a while, or the worker is drained.

        Raises StaleLease if the server does not know this worker (any more).
        """
        place = await unless(self._ahead.take(), self._attempts.draining)
        if place is None:
            return None
        try:
            assignment = await self._assignment()
        except BaseException:
            place.leave()
            raise
        if assignment is None:
            place.leave()
            return None
        return self._attempt(assignment, place)

    async def _assignment(self) -> Assignment | None:
        """None also if the worker is not any more as it told when it asked: it asks anew.

        It has other environments, or fetches the files of fewer runs: an account with enough of these gets no more.
        """
        changes = self._environments.ready_changed, self._ahead.fetched
        for change in changes:
            change.clear()
        return await unless(self._link.ask(self._ask()), self._attempts.draining, *changes)

    def _ask(self) -> Ask:
        held, fetching, comfyui = self._attempts.leases, self._attempts.fetching, self._gpu.comfyui
        environment = comfyui.current.environment
        return Ask(
            self._info.id,
            self._info.incarnation,
            idle=not comfyui.turn.locked() and len(fetching) == len(held),
            warm=comfyui.current.models,
            holding=held,
            wait_s=ASK_WAIT_S,
            account=comfyui.account,
            staging=fetching,
            environment="" if environment == DEFAULT_ENVIRONMENT else environment,
            ready=self._environments.ready(),
            in_memory=self._gpu.models.names,
        )

    def _attempt(self, assignment: Assignment, place: Place) -> Attempt:
        halt = Halt()
        return Attempt(assignment, Reporter(self._link, assignment.lease, halt.lose), place, halt)
