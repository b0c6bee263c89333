"""The loop of a standalone fleet: it reports to the server, and starts and stops workers as the queue needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Protocol

import aiohttp
import msgspec

from comfyward.errors import SetupFailed
from comfyward.fleet.fleet import Fleet, WorkerState, reconcile
from comfyward.fleet.protocol import PREFIX, FleetOrders, FleetReport, PoolReport
from comfyward.loop import Loop

log = logging.getLogger(__name__)

REPLY_TIMEOUT_S = 10.0


class RemoteFleet(Fleet, Protocol):
    """A fleet beside the server, which cannot tell by itself whether its workers are busy."""

    @property
    def name(self) -> str: ...

    def token_hash(self, pool: str) -> str:
        """The hash of the token that a pool's workers join with."""
        ...


class Sync(Loop):
    """Reports and reconciles once a second. While the server does not answer, the workers are left as they are."""

    name = "sync"
    interval_s = 1.0

    def __init__(self, fleet: RemoteFleet, server_url: str, token: str, stop_grace_s: float) -> None:
        """Must be called on the event loop."""
        super().__init__()
        self._fleet, self._stop_grace_s = fleet, stop_grace_s
        self._url = f"{server_url.rstrip('/')}{PREFIX}/sync"
        self._headers = {"Authorization": f"Bearer {token}"}
        self._active_at: dict[str, float] = {}
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REPLY_TIMEOUT_S))

    async def tick(self) -> dict[str, int]:
        states = await self._fleet.list()
        try:
            orders = await self._exchange(self._report(states))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("the server does not answer (%s); retrying", error, extra={"action": "fleet_waits"})
            return {}
        states = self._with_activity(states, orders.busy)
        return await reconcile(self._fleet, states, orders.queued, orders.paused, self._stop_grace_s)

    async def _exchange(self, report: FleetReport) -> FleetOrders:
        """Sends a report and returns the server's orders. Raises SetupFailed if the server refuses the fleet."""
        data = msgspec.json.encode(report)
        async with self._session.post(self._url, data=data, headers=self._headers) as answer:
            body = await answer.read()
            if answer.status in (401, 403, 404):
                raise SetupFailed(f"The server refuses this fleet: {_message(body)}", hint=_hint(body))
            answer.raise_for_status()
            return msgspec.json.decode(body, type=FleetOrders)

    async def stop(self) -> None:
        await super().stop()
        await self._session.close()

    def _report(self, states: Sequence[WorkerState]) -> FleetReport:
        pools = {
            pool: PoolReport(
                limit.min,
                limit.max,
                limit.idle_timeout_s,
                limit.prewarm,
                self._fleet.token_hash(pool),
                running=sum(state.pool == pool and state.phase == "running" for state in states),
                pending=sum(state.pool == pool and state.phase in ("pending", "unschedulable") for state in states),
                problem=next((state.problem for state in states if state.pool == pool and state.problem), None),
            )
            for pool, limit in self._fleet.limits().items()
        }
        return FleetReport(self._fleet.name, pools, [state.worker_id for state in states])

    def _with_activity(self, states: Sequence[WorkerState], busy: Collection[str]) -> list[WorkerState]:
        """The states with the server's knowledge: the busy workers, and the idle time of the others."""
        now = time.monotonic()
        known = {state.worker_id for state in states}
        self._active_at = {worker_id: at for worker_id, at in self._active_at.items() if worker_id in known}
        for state in states:
            if state.worker_id in busy or state.worker_id not in self._active_at:
                self._active_at[state.worker_id] = now
        return [
            replace(state, busy=state.worker_id in busy, idle_s=now - self._active_at[state.worker_id])
            for state in states
        ]


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "it does not support fleets."


def _hint(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["hint"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return "Check --server, and that the server has this version."
