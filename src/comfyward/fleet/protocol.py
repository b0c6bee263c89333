"""The wire between a fleet that runs by itself and the server: one call, again and again.

    POST sync    FleetReport -> FleetOrders
    POST gone    Gone                          a worker's process has ended: its runs are tried again now

The fleet says what is there, the server what is wanted; either may be restarted at any time.
"""

from __future__ import annotations

import hashlib

import msgspec

PREFIX = "/fleet/v1"


class PoolReport(msgspec.Struct, frozen=True):
    """A pool of a fleet. `token_hash` is of the token that its workers join with; `problem` says why none comes."""

    min: int
    max: int
    idle_timeout_s: float
    prewarm: int
    token_hash: str
    running: int = 0
    pending: int = 0
    problem: str | None = None


class FleetReport(msgspec.Struct, frozen=True):
    """`workers` are all that the fleet knows of; those that bear its name and that it does not know are to leave."""

    name: str
    pools: dict[str, PoolReport]
    workers: list[str]


class FleetOrders(msgspec.Struct, frozen=True):
    """How many runs wait by pool, which workers have some, and which an operator has paused."""

    queued: dict[str, int]
    busy: list[str]
    paused: list[str]


class Gone(msgspec.Struct, frozen=True):
    worker_id: str


def worker_token(fleet_token: str, pool: str) -> str:
    """The token of a pool's workers, made from the fleet's own, which they cannot learn from it."""
    return hashlib.sha256(f"comfyward worker {pool} {fleet_token}".encode()).hexdigest()
