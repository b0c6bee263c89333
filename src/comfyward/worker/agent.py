"""The life of a worker: it joins its server, asks for runs until it is drained, and leaves."""

from __future__ import annotations

import asyncio

from comfyward.errors import StaleLease
from comfyward.worker.asks import Asks
from comfyward.worker.attempts import Attempts
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.heartbeats import Heartbeats
from comfyward.worker.pipeline import Pipeline
from comfyward.worker.registration import Registration
from comfyward.worker.unless import unless


class Agent:
    """One worker: one accelerator, one warm ComfyUI at a time."""

    def __init__(
        self,
        registration: Registration,
        heartbeats: Heartbeats,
        asks: Asks,
        pipeline: Pipeline,
        environments: EnvironmentOrders,
        attempts: Attempts,
    ) -> None:
        self._registration, self._heartbeats, self._asks = registration, heartbeats, asks
        self._pipeline, self._environments, self._attempts = pipeline, environments, attempts

    async def run(self) -> None:
        """Works until it is drained. Raises SetupFailed if ComfyUI does not start, Unauthenticated for an invalid
        token."""
        try:
            await self._pipeline.open()
            await self._registration.register(self._attempts.draining)
            await self._serve()
        finally:
            await self._pipeline.close()

    async def _serve(self) -> None:
        beside = [
            asyncio.create_task(self._heartbeats.run(), name="heartbeat"),
            asyncio.create_task(self._environments.run(), name="environments"),
        ]
        try:
            await self.ask_for_runs()
            await self._attempts.finish()
            await self._registration.end()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._attempts.finish()

    async def ask_for_runs(self) -> None:
        """Asks for a run whenever there is a place for one, until it is drained."""
        draining = self._attempts.draining
        while not draining.is_set():
            try:
                attempt = await self._asks.next()
            except StaleLease:  # the server does not know this worker (any more)
                await unless(self._registration.register(draining), draining)
                continue
            if attempt is not None:
                self._attempts.add(attempt)
                self._attempts.begin(self._pipeline.work(attempt))
