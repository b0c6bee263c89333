"""Hands queued runs to workers that ask, and keeps the leases alive.

Workers wait here; one loop matches them with the queue, so a thousand waiting workers cost one query, not a thousand.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward import metrics
from comfyward.dispatch import transitions
from comfyward.dispatch.placement import Rules, SkippedSince, WaitingRun, Worker, in_order, match, within_limits
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.waiting import HAND_OUT, WaitingWorkers
from comfyward.errors import StaleLease
from comfyward.ids import new_secret
from comfyward.loop import Loop
from comfyward.runs.change import Change, RunAssigned
from comfyward.runs.run import EndReason, Run
from comfyward.store import accounts, queue, runs, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import LogWanted, WorkerJoined, WorkerSignalled
from comfyward.worker.protocol import Ask, Heartbeat, Orders

QUEUE_LOOKAHEAD = 200
SEEN_RESOLUTION_MS = 5_000
REMEMBERED_FILES = 200
ELSEWHERE_MS = 2_000  # how old may be what is known of workers that speak to other servers


@dataclass(frozen=True)
class Asker:
    """A worker as the gateway knows it."""

    worker_id: str
    pool: str
    environment: str
    device: str


@dataclass
class _Standing:
    """A worker between its calls: what it holds, and how its held heartbeat is woken."""

    worker: Worker
    orders: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False
    seen_at: int = 0
    log_wanted: bool = False


class Leases(Loop):
    """queued -> assigned, renewals, and cancels on their way down."""

    name = HAND_OUT
    interval_s = 0.5

    def __init__(
        self,
        db: Database,
        publisher: Publisher,
        waiting: WaitingWorkers,
        *,
        lease_s: float,
        rules: Rules,
        prices: Mapping[str, float],
    ) -> None:
        super().__init__(waiting.hint)
        self._db, self._publisher, self._waiting, self._prices = db, publisher, waiting, prices
        self.lease_s = lease_s
        self.rules = rules
        self._known: dict[str, _Standing] = {}
        self._logs: dict[str, asyncio.Future[str]] = {}
        self._skipped: Mapping[str, SkippedSince] = {}
        self._had: dict[str, collections.deque[str]] = {}  # files by worker
        self._askers: dict[str, tuple[str, Asker]] = {}  # by worker, with the life that it is of
        self._forgotten = 0  # how often some were
        self._elsewhere: list[Worker] = []
        self._looked_elsewhere_at = 0
        self._draining = False

    def welcome(self, worker_id: str) -> None:
        """A worker has said hello here, and begun a new life: no server goes by an earlier one."""
        self.forget_asker(worker_id)
        self._db.notices.send(WorkerJoined(worker_id))

    async def asker(self, worker_id: str, incarnation: str) -> Asker:
        """The worker behind a call. Raises StaleLease when another life of it has said hello since."""
        life, asker = self._askers.get(worker_id, (None, None))
        if asker is None or life != incarnation:
            forgotten = self._forgotten
            row = await self._db.lookup(workers.get, worker_id)
            if row is None or row.incarnation != incarnation:
                raise StaleLease("This worker is not known; it must say hello first.")
            asker = Asker(row.id, row.pool, row.environment, row.device)
            if forgotten == self._forgotten:  # else the row may be older than what we have just heard
                self._askers[worker_id] = incarnation, asker
        return asker

    def forget_asker(self, worker_id: str | None = None) -> None:
        """A new life of a worker has said hello, here or to another server (None: perhaps one of any worker)."""
        self._forgotten += 1
        if worker_id is None:
            self._askers.clear()
        else:
            self._askers.pop(worker_id, None)

    async def ask(self, asker: Asker, ask: Ask) -> Run | None:
        """A run for this worker, or None when there is none for `ask.wait_s` seconds."""
        cached = frozenset(self._had.get(asker.worker_id, ()))
        worker = Worker(asker.worker_id, asker.pool, asker.environment, ask.idle, frozenset(ask.warm), cached)
        standing = self._standing(worker)
        await self._take_back_unheard(ask)
        if self._draining:
            return None
        standing.worker, standing.busy = worker, bool(ask.holding)
        return await self._waiting.run_for(worker, asker.device, ask.wait_s)

    async def heartbeat(self, asker: Asker, heartbeat: Heartbeat) -> Orders:
        """Renews leases, then waits until there is an order or `wait_s` has passed."""
        standing = self._standing(Worker(asker.worker_id, asker.pool, asker.environment, False, frozenset()))
        standing.orders.clear()
        standing.busy = bool(heartbeat.leases)
        orders = await self._renew(standing, heartbeat)
        if self._draining or orders.lost or orders.cancel or orders.drain or orders.log:
            return orders
        try:
            async with asyncio.timeout(heartbeat.wait_s):
                await standing.orders.wait()
        except TimeoutError:
            return Orders()
        return await self._orders(standing, heartbeat.worker_id, [])

    async def drain(self, worker_id: str) -> None:
        """Asks a worker to finish what it has begun and to leave."""
        await self._db.write(workers.drain, worker_id, now_ms())
        self.tell(worker_id)

    async def log_of(self, worker_id: str, timeout_s: float) -> str | None:
        """The end of a worker's log; None when it does not send it in time."""
        asked = self._logs.get(worker_id)
        if asked is None:
            asked = self._logs[worker_id] = asyncio.get_running_loop().create_future()
        self.want_log(worker_id)
        self._db.notices.send(LogWanted(worker_id))
        try:
            return await asyncio.wait_for(asyncio.shield(asked), timeout_s)
        except TimeoutError:
            return None

    def want_log(self, worker_id: str) -> None:
        """Somebody, here or elsewhere, wants a worker's log."""
        if standing := self._known.get(worker_id):
            standing.log_wanted = True
            standing.orders.set()

    def log_came(self, worker_id: str, text: str) -> None:
        """A worker has sent its log."""
        if standing := self._known.get(worker_id):
            standing.log_wanted = False
        if asked := self._logs.pop(worker_id, None):
            asked.set_result(text)

    def tell(self, worker_id: str | None) -> None:
        """There is an order for a worker in its rows: its held heartbeat is answered, wherever it is held."""
        if worker_id is not None:
            self.answer_heartbeat(worker_id)
            self._db.notices.send(WorkerSignalled(worker_id))

    def answer_heartbeat(self, worker_id: str) -> None:
        """As `tell`, for a heartbeat that is held here."""
        if standing := self._known.get(worker_id):
            standing.orders.set()

    def is_busy(self, worker_id: str) -> bool:
        """Whether a worker had runs when it last spoke (it holds leases, or was handed one since)."""
        standing = self._known.get(worker_id)
        return standing is not None and standing.busy

    def stop_handing_out(self) -> None:
        """The server is about to stop: nobody gets another run from it."""
        self._draining = True
        self._waiting.dismiss()
        for standing in self._known.values():
            standing.orders.set()

    async def worker_gone(self, worker_id: str, *, said_goodbye: bool = False) -> None:
        """A worker has ended: its runs are tried again at once.

        One that said goodbye did not begin what it still holds, so the attempt does not count.
        """
        self._known.pop(worker_id, None)
        self._had.pop(worker_id, None)
        self.forget_asker(worker_id)
        self._publisher.publish(*await self._db.write(_forget_worker, worker_id, said_goodbye, now_ms()))
        self.wake()  # no run waits for this worker any more

    async def tick(self) -> dict[str, int]:
        """Matches the queue with the workers that wait, in one transaction."""
        pools = self._waiting.pools
        if not pools or await self._db.lookup(queue.is_empty, pools):
            return {}
        asking, others = self._waiting.asking, await self._others()
        match_queue = _Match(asking, others, self.rules, self._skipped, int(self.lease_s * 1000), self._prices)
        matched = await self._db.write(match_queue.apply)
        self._skipped = matched.skipped
        self._waiting.matched(is_any_left=matched.is_any_left)
        self._publisher.publish(*matched.unpaid)
        for assigned in matched.assigned:
            run = assigned.run
            metrics.handed_out.labels(run.pool, _held(run, asking)).inc()
            self._publisher.publish(assigned)
            self._remember_files(run)
            await self._hand_over(run)
        if matched.look_again and self._waiting:
            self.wake()
        return {"assigned": len(matched.assigned), "unpaid": len(matched.unpaid)}

    async def _others(self) -> list[Worker]:
        """All workers that are known, asking or not; those that speak to other servers as they last described
        themselves."""
        if not self._db.is_shared:
            return [standing.worker for standing in self._known.values()]
        now = now_ms()
        if now - self._looked_elsewhere_at > ELSEWHERE_MS:
            self._looked_elsewhere_at = now
            present = await self._db.lookup(workers.holdings, now - workers.PRESENT_MS)
            self._elsewhere = [Worker(row.worker_id, row.pool, row.environment, False, row.warm) for row in present]
        return self._elsewhere

    def _remember_files(self, run: Run) -> None:
        """Where the run goes, its files are in the host's cache for a while: similar runs are best off there."""
        if run.files and run.worker_id is not None:
            had = self._had.setdefault(run.worker_id, collections.deque(maxlen=REMEMBERED_FILES))
            had.extend(name for name in files_of(run.files) if name not in had)

    async def _hand_over(self, run: Run) -> None:
        """Answers the worker; one that went away in the meantime never had the run."""
        assert run.worker_id is not None
        if standing := self._known.get(run.worker_id):
            standing.busy = True
        if not self._waiting.give(run.worker_id, run):
            self._publisher.publish(await self._db.write(transitions.given_back, run, now_ms()))

    async def _take_back_unheard(self, ask: Ask) -> None:
        """A worker that does not know a lease of its own never got the answer that carried it."""
        if ask.heard:
            return
        for run in await self._db.lookup(_unheard, ask.worker_id, ask.holding):
            self._publisher.publish(await self._db.write(transitions.given_back, run, now_ms()))

    async def _renew(self, standing: _Standing, heartbeat: Heartbeat) -> Orders:
        now = now_ms()
        lost: list[str] = []
        if heartbeat.leases:
            expires_at = now + int(self.lease_s * 1000)
            kept = await self._db.write(queue.renew, heartbeat.leases, expires_at=expires_at)
            lost = [lease for lease in heartbeat.leases if lease not in kept]
        if heartbeat.vitals is not None or now - standing.seen_at > SEEN_RESOLUTION_MS:
            standing.seen_at = now
            vitals = None if heartbeat.vitals is None else msgspec.to_builtins(heartbeat.vitals)
            await self._db.write(workers.see, heartbeat.worker_id, now, vitals)
        return await self._orders(standing, heartbeat.worker_id, lost)

    async def _orders(self, standing: _Standing, worker_id: str, lost: list[str]) -> Orders:
        cancelled, drain = await self._db.lookup(workers.orders_for, worker_id)
        return Orders(lost, cancelled, drain, log=standing.log_wanted)

    def _standing(self, worker: Worker) -> _Standing:
        return self._known.setdefault(worker.id, _Standing(worker))


@dataclass(frozen=True)
class Matched:
    """What one round came to: `unpaid` are runs that ended for want of credit."""

    assigned: Sequence[RunAssigned] = ()
    unpaid: Sequence[Change | None] = ()
    skipped: Mapping[str, SkippedSince] = field(default_factory=dict)
    look_again: bool = False
    is_any_left: bool = False


@dataclass(frozen=True)
class _Match:
    """One round of hand-outs, inside one transaction: the queue that is looked at is the one that is changed."""

    asking: list[tuple[Worker, str]]
    others: list[Worker]
    rules: Rules
    skipped: Mapping[str, SkippedSince]
    lease_ms: int
    prices: Mapping[str, float]

    def apply(self, conn: Connection) -> Matched:
        now = now_ms()
        pools, aged_before = {worker.pool for worker, _ in self.asking}, now - self.rules.ageing_ms
        heads = queue.heads(conn, pools, QUEUE_LOOKAHEAD, aged_before=aged_before if self.rules.ageing_ms else 0)
        if not heads:
            return Matched()
        unpaid = accounts.out_of_credit(conn, {head.account_id for head in heads if head.has_credit_limit})
        ended = self._end(conn, [head.id for head in heads if head.account_id in unpaid], now)
        waiting = [_waiting_run(head) for head in heads if head.account_id not in unpaid]
        waiting = within_limits(in_order(waiting, now, self.rules.ageing_ms), _places_left(conn, heads))
        found = match([worker for worker, _ in self.asking], waiting, self.others, now, self.rules, self.skipped)
        assigned = self._assign(conn, found.pairs, now)  # those that are missing, another server is handing out
        is_any_left = len(waiting) > len(found.pairs) or len(heads) >= QUEUE_LOOKAHEAD
        return Matched(assigned, ended, found.skipped, bool(found.pairs) and is_any_left, is_any_left)

    def _assign(self, conn: Connection, pairs: list[tuple[Worker, WaitingRun]], now: int) -> list[RunAssigned]:
        devices = {worker.id: device for worker, device in self.asking}
        hand_outs = [
            queue.HandOut(waiting.id, worker.id, devices[worker.id], new_secret(), self.prices.get(worker.pool, 0.0))
            for worker, waiting in pairs
        ]
        assigned = queue.assign(conn, hand_outs, expires_at=now + self.lease_ms, now=now)
        return [transitions.assigned(conn, run, now) for run in assigned]

    def _end(self, conn: Connection, run_ids: list[str], now: int) -> list[Change | None]:
        found = [run for run_id in run_ids if (run := runs.get_any(conn, run_id))]
        return [transitions.ended(conn, run, EndReason.INSUFFICIENT_CREDIT, now) for run in found]


def _waiting_run(head: queue.Candidate) -> WaitingRun:
    return WaitingRun(
        id=head.id,
        pool=head.pool,
        environment=head.environment,
        queued_at=head.queued_at,
        models=frozenset(head.models),
        avoid_worker_id=head.avoid_worker_id,
        limited_by=tuple(limits_of(head)),
        priority=head.priority,
        turn=head.turn,
        files=frozenset(files_of(head.files)),
    )


def limits_of(head: queue.Candidate) -> dict[str, int]:
    """The limits that count a run, by name, with how many runs each allows at once."""
    named = zip(
        _limit_names(head.account_id, head.pool, head.api_key_id), dataclasses.astuple(head.limits), strict=True
    )
    return {name: most for name, most in named if most is not None}


def _limit_names(account_id: str, pool: str, key: str | None) -> tuple[str, str, str]:
    """What counts a run, in the order of RunningLimits."""
    return f"account {account_id}", f"account {account_id} in {pool}", f"key {key}"


def _places_left(conn: Connection, heads: Sequence[queue.Candidate]) -> dict[str, int]:
    """How many more runs may start, by limit."""
    left: dict[str, int] = {}
    for head in heads:
        left.update(limits_of(head))
    if not left:
        return left
    for account_id in {head.account_id for head in heads if limits_of(head)}:
        for pool, key in queue.on_their_way(conn, account_id):
            for name in _limit_names(account_id, pool, key):
                if name in left:
                    left[name] -= 1
    return left


def files_of(files: Mapping[str, Any]) -> Iterator[str]:
    """Names for the files of a run, the same for all runs that bring the same."""
    for source in files.values():
        yield source.get("blob") or source["url"]


def _held(run: Run, asking: Sequence[tuple[Worker, str]]) -> str:
    """Whether the worker that got a run held its models, as its measure is labelled."""
    if not run.models:
        return "none"
    warm = next(worker.warm for worker, _ in asking if worker.id == run.worker_id)
    return "held" if warm.issuperset(run.models) else "to load"


def _unheard(conn: Connection, worker_id: str, holding: list[str]) -> list[Run]:
    return [run for run in queue.leased_by(conn, worker_id) if run.lease not in holding]


def _forget_worker(conn: Connection, worker_id: str, said_goodbye: bool, now: int) -> list[Change | None]:
    workers.leave(conn, worker_id, now)
    held = queue.leased_by(conn, worker_id)
    if said_goodbye:
        return [transitions.given_back(conn, run, now) for run in held]
    return [transitions.ended(conn, run, EndReason.WORKER_LOST, now) for run in held]
