"""The orders that a heartbeat brings back, passed to the parts of the worker that carry them out."""

from __future__ import annotations

from comfyward.worker.attempts import Attempts
from comfyward.worker.environment_orders import EnvironmentOrders
from comfyward.worker.model_keeper import ModelKeeper
from comfyward.worker.own_log import OwnLog
from comfyward.worker.protocol import Orders


class OrdersHandler:
    """Returns at once: what takes time goes on beside the heartbeats."""

    def __init__(
        self, attempts: Attempts, environments: EnvironmentOrders, models: ModelKeeper, own_log: OwnLog
    ) -> None:
        self._attempts, self._environments, self._models, self._own_log = attempts, environments, models, own_log

    def carry_out(self, orders: Orders) -> None:
        self._environments.wanted(orders.environments, orders.learn)
        self._models.pin(orders.models)
        self._attempts.lose(orders.lost)
        self._attempts.cancel(orders.cancel)
        self._attempts.recall(orders.recall)
        if orders.drain:
            self._attempts.drain()
        if orders.log:
            self._attempts.begin(self._own_log.send())
