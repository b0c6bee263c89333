"""The orders that a heartbeat brings back, passed to the parts of the worker that carry them out."""

from __future__ import annotations

from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.jobs import Jobs
from comfyward.worker.model_keeper import ModelKeeper
from comfyward.worker.own_log import OwnLog
from comfyward.worker.protocol import Orders


class OrdersHandler:
    """Returns at once: what takes time goes on beside the heartbeats."""

    def __init__(self, jobs: Jobs, environments: EnvironmentOrders, models: ModelKeeper, own_log: OwnLog) -> None:
        self._jobs, self._environments, self._models, self._own_log = jobs, environments, models, own_log

    def carry_out(self, orders: Orders) -> None:
        self._environments.wanted(orders.environments, orders.learn)
        self._models.pin(orders.models)
        self._jobs.lose(orders.lost)
        self._jobs.cancel(orders.cancel)
        if orders.drain:
            self._jobs.drain()
        if orders.log:
            self._jobs.begin(self._own_log.send())
