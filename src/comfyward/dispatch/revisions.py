"""The revisions of environments, and who has them: what is asked of workers, and what runs can be bound to."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Connection

from comfyward.dispatch.inventory import LATELY
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.environments.reference import Reference
from comfyward.errors import InvalidEnvironment
from comfyward.runs.log import without_folders
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import environments, learnings, queue, trials, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.environments import Standing
from comfyward.store.notices import Notice, Wake
from comfyward.store.trials import FAILED, READY, Present
from comfyward.wording import did_you_mean

REMEMBER_S = 1.0
MAX_REASON = 300  # characters of a failure that members are told
CHANGED, REPORTED = "environments", "environments-reported"
"""The names under which servers tell each other that revisions have changed, or what workers have of them."""


@dataclass(frozen=True)
class Bound:
    """The environment of a run: its key, the name under which it was asked for, and the number of the revision."""

    key: str
    name: str = ""
    revision: int = 0


DEFAULT = Bound(DEFAULT_ENVIRONMENT)


@dataclass(frozen=True)
class Situation:
    """Environments by name, the states at present workers, the number of those by pool and target, the keys of queued
    runs, and those of which somebody is to learn."""

    standing: Mapping[str, Standing]
    present: Sequence[Present]
    targets: Mapping[str, Mapping[str, int]]
    queued: Mapping[str, Sequence[str]]
    learn: Sequence[str] = ()
    _orders: dict[tuple[str, str], Sequence[str]] = field(default_factory=dict, compare=False)

    def bound(self, asked: str, pool: str) -> Sequence[Bound]:
        """The revision that an environment's name stands for, once for each target of a pool's workers.

        Raises InvalidEnvironment for a name without a current revision, and for a pool that cannot have it.
        """
        if asked in ("", DEFAULT_ENVIRONMENT):
            return [DEFAULT]
        number, digests = self._revision(Reference.parse(asked))
        targets = self.targets.get(pool, digests)
        found = [Bound(digest, asked, number) for target, digest in sorted(digests.items()) if target in targets]
        if not found:
            name = Reference.parse(asked).name
            raise InvalidEnvironment(
                f"No worker of pool {pool} can have '{name}@{number}': it is locked for {', '.join(sorted(digests))}.",
                hint="Choose another accelerator, or tell an admin.",
            )
        return found

    def check(self, asked: str) -> None:
        """Raises InvalidEnvironment for a name that no workflow can have: an unknown environment or revision."""
        if asked in ("", DEFAULT_ENVIRONMENT):
            return
        reference = Reference.parse(asked)
        standing = self._standing(reference.name)
        if reference.number is not None:
            _digests(standing, reference.name, reference.number)

    def wanted(self, worker_id: str, pool: str, target: str) -> list[str]:
        """The environments that a worker is asked to build and try, without those of which it has said how that went.

        Every heartbeat asks, so nothing here grows with the number of workers.
        """
        done = self._done.get(worker_id, set())
        return [digest for digest in self._ordered(pool, target) if digest not in done]

    def to_learn(self, target: str) -> list[str]:
        """The environments of which a worker of this target may learn."""
        return [digest for digest in self.learn if self._targets_of.get(digest) == target]

    @cached_property
    def _done(self) -> Mapping[str, set[str]]:
        """The environments that are ready or failed, by worker."""
        found: dict[str, set[str]] = {}
        for each in self.present:
            if each.state in (READY, FAILED):
                found.setdefault(each.worker_id, set()).add(each.digest)
        return found

    def _ordered(self, pool: str, target: str) -> Sequence[str]:
        """The environments for the workers of a pool and target, the most urgent first: those of its queued runs, those
        that an admin wants tried, the current ones."""
        if (pool, target) not in self._orders:
            standing = self.standing.values()
            mine = {digest for each in standing for digest in each.of_target(target)}
            queued = [digest for digest in self.queued.get(pool, ()) if digest in mine]
            tried = [digest for each in standing for digest in each.asked(target)]
            current = [digest for each in standing if (digest := each.current_for(target))]
            self._orders[pool, target] = list(dict.fromkeys([*queued, *tried, *current]))
        return self._orders[pool, target]

    def has_ready(self, key: str, pool: str) -> bool:
        """True if a present worker of a pool has an environment ready."""
        return trials.is_ready(self.present, key, pool)

    def may_have(self, key: str, pool: str) -> bool:
        """True if a present worker of a pool has an environment, or could have it and has not failed with it."""
        return key == DEFAULT_ENVIRONMENT or self._failed[pool, key] < self._able(key, pool)

    def has_failed(self, key: str, pool: str) -> bool:
        """True if all present workers of a pool that could have an environment have failed with it."""
        return self._able(key, pool) > 0 and not self.may_have(key, pool)

    def _able(self, key: str, pool: str) -> int:
        """The number of present workers of a pool that could build an environment."""
        target = self._targets_of.get(key)
        return self.targets.get(pool, {}).get(target, 0) if target else 0

    @cached_property
    def _targets_of(self) -> Mapping[str, str]:
        """The target of each environment by its key."""
        standing = self.standing.values()
        return {key: target for each in standing for keys in each.digests.values() for target, key in keys.items()}

    @cached_property
    def _failed(self) -> Counter[tuple[str, str]]:
        """The number of present workers that have failed, by pool and environment."""
        return Counter((each.pool, each.digest) for each in self.present if each.state == FAILED)

    def _revision(self, reference: Reference) -> tuple[int, Mapping[str, str]]:
        """(number, digests by target) of a revision, the current one if no number is given."""
        standing = self._standing(reference.name)
        number = reference.number or standing.current
        if not number:
            raise InvalidEnvironment(
                f"The environment '{reference.name}' has no current revision yet.",
                hint=f"An admin makes one current with 'comfyward environments promote {reference.name}'.",
            )
        return number, _digests(standing, reference.name, number)

    def _standing(self, name: str) -> Standing:
        if name not in self.standing:
            hint = did_you_mean(name, self.standing, _known(self.standing))
            raise InvalidEnvironment(f"There is no environment '{name}'.", hint=hint)
        return self.standing[name]


class Revisions:
    """Keeps the situation, at most a second old."""

    def __init__(self, db: Database, signals: WorkerSignals) -> None:
        self._db, self._signals = db, signals
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._situation = Situation({}, [], {}, {})
        self.changed_hint = asyncio.Event()
        """Set when environments have changed, or who has them."""
        db.notices.subscribe(self._on_notice, self._changed)

    async def look(self, since: float = LATELY) -> Situation:
        """The situation, read once for all that ask within a second; not older than `since` (s)."""
        async with self._reading:
            began = time.monotonic()
            if self._read_at < max(since, began - REMEMBER_S):
                self._situation = await self._db.read(_situation, now_ms() - workers.PRESENT_MS)
                self._read_at = began
        return self._situation

    async def failed(self, bound: Bound, pool: str) -> InvalidEnvironment:
        """The error for an environment that failed at every worker of a pool, with the reason of one.

        Whoever reads it is no admin: it names no folder of a host.
        """
        told = await self._db.lookup(trials.failure, bound.key, pool, now_ms() - workers.PRESENT_MS)
        reason = without_folders(told)[:MAX_REASON] or "no reason was given."
        name = Reference.parse(bound.name).name
        return InvalidEnvironment(
            f"{name}@{bound.revision} has failed at every worker of pool {pool}: {reason}",
            hint=f"Choose another environment, or tell an admin: 'comfyward environments show {name}' tells more.",
        )

    async def problem(self, bound: Bound, pool: str) -> str | None:
        """The reason why no worker of a pool can have an environment; None if one has it, or could still build it."""
        situation = await self.look()
        if pool not in situation.targets or situation.may_have(bound.key, pool):
            return None
        if situation.has_failed(bound.key, pool):
            return (await self.failed(bound, pool)).message
        return f"No worker of pool {pool} can have {Reference.parse(bound.name).name}@{bound.revision}."

    async def look_at(self, asked: str, since: float = LATELY) -> Situation:
        """The situation, with the current revision of one environment as it is now: a command may have changed it."""
        situation, name = await self.look(since), Reference.parse(asked).name
        if name in ("", DEFAULT_ENVIRONMENT):
            return situation
        known = situation.standing.get(name)
        if (known.current if known else None) == await self._db.lookup(environments.current_of, name):
            return situation
        return await self.look(time.monotonic())

    def changed(self) -> None:
        """Has this server and all others look anew, and tell their workers: a revision or a trial was written."""
        self._changed()
        self._db.notices.send(Wake(CHANGED))

    def reported(self) -> None:
        """Has this server and all others look anew: a worker has something else than before."""
        self._discard()
        self._db.notices.send(Wake(REPORTED))

    def _changed(self) -> None:
        self._discard()
        self._signals.send_all()

    def _discard(self) -> None:
        self._read_at = float("-inf")
        self.changed_hint.set()

    def _on_notice(self, notice: Notice) -> None:
        if notice == Wake(CHANGED):
            self._changed()
        elif notice == Wake(REPORTED):
            self._discard()


def _situation(conn: Connection, seen_after: int) -> Situation:
    return Situation(
        environments.standing(conn),
        trials.present(conn, seen_after),
        workers.targets(conn, seen_after),
        queue.environments(conn),
        learnings.asked(conn, seen_after),
    )


def _digests(standing: Standing, name: str, number: int) -> Mapping[str, str]:
    """The digests of a revision by target. Raises InvalidEnvironment."""
    if number not in standing.digests:
        raise InvalidEnvironment(f"There is no revision {number} of the environment '{name}'.")
    return standing.digests[number]


def _known(names: Iterable[str]) -> str:
    return f"There are: {', '.join(['default', *sorted(names)])}." if names else "There is only 'default'."
