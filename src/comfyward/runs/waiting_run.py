"""A queued run in the form that the store reads and placement decides on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

COUNTED_PLACES = 1000  # of a queue: the runs before one that is further back are not all counted


@dataclass(frozen=True)
class WaitingRun:
    """A queued run, with the fields that placement needs.

    `limits` are those that it counts toward: the number of concurrent runs allowed, by the name of the limit.
    `kept_for` is the idle worker for which another gave it back, at `given_back_at` (ms); None if it was not recalled.
    """

    id: str
    pool: str
    environment: str
    queued_at: int
    models: frozenset[str]
    avoid_worker_id: str | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    turn: int = 0
    files: frozenset[str] = frozenset()
    account_id: str = ""
    has_credit_limit: bool = False
    kept_for: str | None = None
    given_back_at: int = 0


def limit_names(account_id: str, pool: str, api_key_id: str | None) -> tuple[str, str, str]:
    """The names of the limits that a run counts toward: of its account, of that in the pool, of its key."""
    return f"account {account_id}", f"account {account_id} in {pool}", f"key {api_key_id}"


def account_limits(run: WaitingRun) -> tuple[str, str]:
    """The names of the limits of a run's account: everywhere, and in its pool."""
    everywhere, in_pool, _ = limit_names(run.account_id, run.pool, None)
    return everywhere, in_pool


def key_in(limit_name: str) -> str | None:
    """The id of the API key in the name of a limit; None for that of an account."""
    kind, _, key_id = limit_name.partition(" ")
    return key_id if kind == "key" else None


def file_names(files: Mapping[str, Any]) -> Iterator[str]:
    """Names for the files of a run: runs that bring the same file have the same name for it."""
    for source in files.values():
        yield name_of_file(source)


def name_of_file(source: Mapping[str, Any]) -> str:
    """The name for a file of a run, by its source."""
    return str(source.get("blob") or source["url"])
