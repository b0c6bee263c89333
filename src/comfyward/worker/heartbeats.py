"""The heartbeats of a worker: they renew its leases, and bring back the server's orders."""

from __future__ import annotations

import asyncio
import logging
import time

import aiohttp

from comfyward.errors import ComfywardError, Unauthenticated
from comfyward.worker.attempts import Attempts
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.link import ServerLink
from comfyward.worker.orders import OrdersHandler
from comfyward.worker.protocol import Heartbeat, Orders, WorkerInfo
from comfyward.worker.vital_signs import VitalSigns

log = logging.getLogger(__name__)

HEARTBEATS_PER_LEASE = 4
SHORTEST_WAIT_S = 0.1


class Heartbeats:
    """A worker relies on its leases only while the server renews them; without renewal it stops ComfyUI by itself."""

    def __init__(
        self,
        info: WorkerInfo,
        link: ServerLink,
        vital_signs: VitalSigns,
        environments: EnvironmentOrders,
        attempts: Attempts,
        orders: OrdersHandler,
    ) -> None:
        self._info, self._link, self._vital_signs = info, link, vital_signs
        self._environments, self._attempts, self._orders = environments, attempts, orders

    async def run(self) -> None:
        """Renews the leases, and gives them up when the server has been silent for as long as they last.

        Returns, and drains the worker, once the server no longer accepts it.
        """
        renewed_at = time.monotonic()
        while True:
            sent_at = time.monotonic()
            try:
                orders = await self._beat(max(SHORTEST_WAIT_S, renewed_at + self._link.lease_s - sent_at))
            except Unauthenticated:
                log.error("the server no longer accepts this worker", extra={"action": "worker_refused"})
                self._attempts.lose(self._attempts.leases)
                return self._attempts.drain()
            except (aiohttp.ClientError, TimeoutError, OSError, ComfywardError) as error:
                log.warning("heartbeat failed: %s", error or type(error).__name__, extra={"action": "heartbeat_failed"})
                if time.monotonic() - renewed_at >= self._link.lease_s:
                    self._attempts.lose(self._attempts.leases)
                    renewed_at = time.monotonic()
                await asyncio.sleep(SHORTEST_WAIT_S)
            else:
                renewed_at = sent_at
                self._orders.carry_out(orders)

    async def _beat(self, left_s: float) -> Orders:
        """One heartbeat, while the leases last for another `left_s` seconds. Raises as a call does."""
        # After a late answer the next one is wanted soon: only an answer tells that the leases were renewed.
        wait_s = min(self._link.lease_s, left_s) / HEARTBEATS_PER_LEASE
        vitals, reports = await self._vital_signs.read(), self._environments.reports()
        leases = self._attempts.leases_to_renew
        beat = Heartbeat(self._info.id, self._info.incarnation, leases, wait_s, vitals, reports)
        async with asyncio.timeout(left_s):
            orders = await self._link.heartbeat(beat)
        self._environments.sent(reports)
        return orders
