"""The wire protocol between a standalone fleet and the server.

    POST sync    FleetReport -> FleetOrders    repeated every second
    POST gone    Gone                          a worker's process has ended: its runs are retried immediately

The fleet reports its workers, the server its queue. Either may be restarted at any time.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

PREFIX = "/fleet/v1"
MAX_POOLS = 200
MAX_WORKERS = 10_000

Name = Annotated[str, Meta(min_length=1, max_length=60)]
Count = Annotated[int, Meta(ge=0, le=1_000_000)]


class PoolReport(msgspec.Struct, frozen=True):
    """A pool of a fleet. Its workers join with the token of `token_hash`; `problem` says why they do not start."""

    min: Count
    max: Count
    idle_timeout_s: Annotated[float, Meta(ge=0, le=1e9)]
    prewarm: Count
    token_hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    running: Count = 0
    pending: Count = 0
    problem: Annotated[str, Meta(max_length=20_000)] | None = None


class FleetReport(msgspec.Struct, frozen=True):
    """The state of a fleet. `workers` are all of its workers: others with its name must leave."""

    name: Name
    pools: Annotated[dict[Name, PoolReport], Meta(max_length=MAX_POOLS)]
    workers: Annotated[list[Name], Meta(max_length=MAX_WORKERS)]


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
