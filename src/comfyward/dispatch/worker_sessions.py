"""Sessions of workers: who they are, their heartbeats with the leases that they renew, and how they end.

A worker may speak to any server with each call, so a server knows only those that speak to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.placement import Worker
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.errors import StaleLease
from comfyward.runs.change import Change
from comfyward.runs.run import EndReason
from comfyward.store import queue, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Notice, WorkerJoined
from comfyward.worker.protocol import Heartbeat, Orders

SEEN_RESOLUTION_MS = 5_000


@dataclass(frozen=True)
class WorkerRef:
    """The worker behind a call, as its row says."""

    worker_id: str
    pool: str
    environment: str
    device: str


@dataclass
class _Session:
    """A worker between its calls: as it last described itself, and whether it had runs then."""

    worker: Worker
    busy: bool = False
    seen_at: int = 0


class WorkerSessions:
    """The workers that speak to this server."""

    def __init__(
        self, db: Database, publisher: Publisher, signals: WorkerSignals, logs: WorkerLogs, lease_s: float
    ) -> None:
        self._db, self._publisher, self._signals, self._logs = db, publisher, signals, logs
        self.lease_s = lease_s
        self._sessions: dict[str, _Session] = {}
        self._refs: dict[str, tuple[str, WorkerRef]] = {}  # by worker, with the incarnation that it is of
        self._refs_dropped = 0
        self._is_draining = False
        db.notices.subscribe(self._on_notice, self._drop_all_refs)

    def registered(self, worker_id: str) -> None:
        """A worker has registered here as a new incarnation: no server accepts an earlier one any more."""
        self._drop_ref(worker_id)
        self._db.notices.send(WorkerJoined(worker_id))

    async def identify(self, worker_id: str, incarnation: str) -> WorkerRef:
        """The worker behind a call. Raises StaleLease when a later incarnation of it has registered."""
        known_incarnation, ref = self._refs.get(worker_id, (None, None))
        if ref is None or known_incarnation != incarnation:
            dropped = self._refs_dropped
            row = await self._db.lookup(workers.get, worker_id)
            if row is None or row.incarnation != incarnation:
                raise StaleLease("This worker is not known; it must say hello first.")
            ref = WorkerRef(row.id, row.pool, row.environment, row.device)
            if dropped == self._refs_dropped:  # else the row may be older than a notice that has just come
                self._refs[worker_id] = incarnation, ref
        return ref

    async def heartbeat(self, ref: WorkerRef, heartbeat: Heartbeat) -> Orders:
        """Renews leases, then waits until there is an order or `wait_s` has passed."""
        session = self._session(Worker(ref.worker_id, ref.pool, ref.environment, False, frozenset()))
        signal = self._signals.expect(ref.worker_id)
        session.busy = bool(heartbeat.leases)
        lost = await self._renew(heartbeat)
        await self._update_seen(session, heartbeat)
        orders = await self._orders(ref.worker_id, lost)
        if self._is_draining or orders.lost or orders.cancel or orders.drain or orders.log:
            return orders
        try:
            async with asyncio.timeout(heartbeat.wait_s):
                await signal.wait()
        except TimeoutError:
            return Orders()
        return await self._orders(ref.worker_id, [])

    async def drain(self, worker_id: str) -> None:
        """Asks a worker to finish the runs it has and to leave."""
        await self._db.write(workers.drain, worker_id, now_ms())
        self._signals.send(worker_id)

    async def end(self, worker_id: str, *, said_goodbye: bool = False) -> None:
        """A worker has ended: its runs are tried again at once.

        One that said goodbye did not begin the runs that it still holds, so the attempt does not count.
        """
        self._sessions.pop(worker_id, None)
        self._signals.discard(worker_id)
        self._logs.discard(worker_id)
        self._drop_ref(worker_id)
        self._publisher.publish(*await self._db.write(_end, worker_id, said_goodbye, now_ms()))

    def update(self, worker: Worker, *, busy: bool) -> None:
        """A worker that asks for a run has described itself."""
        session = self._session(worker)
        session.worker, session.busy = worker, busy

    def handed_run(self, worker_id: str) -> None:
        """A worker has been given a run."""
        if session := self._sessions.get(worker_id):
            session.busy = True

    def is_busy(self, worker_id: str) -> bool:
        """True if a worker had runs when it last spoke, or was given one since."""
        session = self._sessions.get(worker_id)
        return session is not None and session.busy

    @property
    def workers(self) -> Collection[Worker]:
        """The workers that speak to this server, as they last described themselves."""
        return [session.worker for session in self._sessions.values()]

    def end_heartbeats(self) -> None:
        """The server is about to stop: heartbeats are answered at once from now on."""
        self._is_draining = True
        self._signals.send_all()

    async def _renew(self, heartbeat: Heartbeat) -> list[str]:
        """Renews a worker's leases; returns those that it has lost."""
        if not heartbeat.leases:
            return []
        expires_at = now_ms() + int(self.lease_s * 1000)
        kept = await self._db.write(queue.renew, heartbeat.leases, expires_at=expires_at)
        return [lease for lease in heartbeat.leases if lease not in kept]

    async def _update_seen(self, session: _Session, heartbeat: Heartbeat) -> None:
        now = now_ms()
        if heartbeat.vitals is not None or now - session.seen_at > SEEN_RESOLUTION_MS:
            session.seen_at = now
            vitals = None if heartbeat.vitals is None else msgspec.to_builtins(heartbeat.vitals)
            await self._db.write(workers.touch, heartbeat.worker_id, now, vitals)

    async def _orders(self, worker_id: str, lost: list[str]) -> Orders:
        cancelled, drain = await self._db.lookup(workers.orders_for, worker_id)
        return Orders(lost, cancelled, drain, log=self._logs.is_wanted(worker_id))

    def _session(self, worker: Worker) -> _Session:
        return self._sessions.setdefault(worker.id, _Session(worker))

    def _drop_ref(self, worker_id: str) -> None:
        self._refs_dropped += 1
        self._refs.pop(worker_id, None)

    def _drop_all_refs(self) -> None:
        self._refs_dropped += 1
        self._refs.clear()

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case WorkerJoined(worker_id):
                self._drop_ref(worker_id)


def _end(conn: Connection, worker_id: str, said_goodbye: bool, now: int) -> list[Change | None]:
    workers.leave(conn, worker_id, now)
    held = queue.leased_by(conn, worker_id)
    if said_goodbye:
        return [transitions.given_back(conn, run, now) for run in held]
    return [transitions.ended(conn, run, EndReason.WORKER_LOST, now) for run in held]
