"""The wire protocol between a standalone fleet and the server.

    POST sync    FleetReport -> FleetOrders    repeated every second
    POST gone    Gone                          a worker's process has ended: its runs are retried immediately

The fleet reports its workers, the server its queue. Either may be restarted at any time.
"""

from __future__ import annotations

import hashlib

import msgspec

PREFIX = "/fleet/v1"


class PoolReport(msgspec.Struct, frozen=True):
    """A pool of a fleet. Its workers join with the token of `token_hash`; `problem` says why they do not start."""

    min: int
    max: int
    idle_timeout_s: float
    prewarm: int
    token_hash: str
    running: int = 0
    pending: int = 0
    problem: str | None = None


class FleetReport(msgspec.Struct, frozen=True):
    """The state of a fleet. `workers` are all of its workers: others with its name must leave."""

    name: str
    pools: dict[str, PoolReport]
    workers: list[str]


class FleetOrders(msgspec.Struct, frozen=True):
    """The number of queued runs by pool, the workers that have runs, and those that an operator has paused."""

    queued: dict[str, int]
    busy: list[str]
    paused: list[str]


class Gone(msgspec.Struct, frozen=True):
    """A worker's process has ended."""

    worker_id: str


def worker_token(fleet_token: str, pool: str) -> str:
    """The token of a pool's workers, derived from the fleet's token, which it does not reveal."""
    return hashlib.sha256(f"comfyward worker {pool} {fleet_token}".encode()).hexdigest()
