"""Worker sessions: identity, heartbeats that renew leases, and their end.

Each call of a worker may go to another server, so a server knows only the workers that call it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.placement import Worker
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.errors import StaleLease
from comfyward.runs.change import Change
from comfyward.runs.run import EndReason, Run
from comfyward.runs.waiting_run import file_names
from comfyward.store import queue, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Notice, WorkerJoined
from comfyward.worker.protocol import Heartbeat, Orders

SEEN_RESOLUTION_MS = 5_000
REMEMBERED_FILES = 200


@dataclass(frozen=True)
class WorkerRef:
    """The worker that makes a call, from its row."""

    worker_id: str
    pool: str
    environment: str
    device: str


@dataclass
class _Session:
    """The state of a worker between its calls: its last description, and `busy` if it had runs then."""

    worker: Worker
    busy: bool = False
    seen_at: int = 0
    files: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED_FILES))  # probably in its host's cache


class WorkerSessions:
    """The sessions of the workers that call this server."""

    def __init__(
        self,
        db: Database,
        publisher: Publisher,
        signals: WorkerSignals,
        logs: WorkerLogs,
        waiting: WaitingWorkers,
        lease_s: float,
    ) -> None:
        self._db, self._publisher, self._signals, self._logs = db, publisher, signals, logs
        self._waiting = waiting
        self.lease_s = lease_s
        self._sessions: dict[str, _Session] = {}
        self._refs: dict[str, tuple[str, WorkerRef]] = {}  # (incarnation, ref) by worker
        self._refs_dropped = 0
        self._is_draining = False
        db.notices.subscribe(self._on_notice, self._drop_all_refs)

    def registered(self, worker_id: str) -> None:
        """Records that a new incarnation of a worker has registered: no server accepts an earlier one from now on."""
        self._drop_ref(worker_id)
        self._db.notices.send(WorkerJoined(worker_id))

    async def identify(self, worker_id: str, incarnation: str) -> WorkerRef:
        """The worker that makes a call. Raises StaleLease if a later incarnation of it has registered."""
        known_incarnation, ref = self._refs.get(worker_id, (None, None))
        if ref is None or known_incarnation != incarnation:
            dropped = self._refs_dropped
            row = await self._db.lookup(workers.get, worker_id)
            if row is None or row.incarnation != incarnation:
                raise StaleLease("Unknown worker: it must register first.")
            ref = WorkerRef(row.id, row.pool, row.environment, row.device)
            if dropped == self._refs_dropped:  # else the row may be older than a notice that arrived meanwhile
                self._refs[worker_id] = incarnation, ref
        return ref

    async def heartbeat(self, ref: WorkerRef, heartbeat: Heartbeat) -> Orders:
        """Renews leases, then waits for an order for up to `wait_s` seconds."""
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
        """Orders a worker to finish its runs and leave."""
        await self._db.write(workers.drain, worker_id, now_ms())
        self._signals.send(worker_id)

    async def end(self, worker_id: str, *, said_goodbye: bool = False) -> None:
        """Ends the session of a worker that has stopped, and requeues its runs.

        A worker that said goodbye has not begun the runs that it still holds, so the attempt does not count.
        """
        self._sessions.pop(worker_id, None)
        self._signals.discard(worker_id)
        self._logs.discard(worker_id)
        self._drop_ref(worker_id)
        self._publisher.publish(*await self._db.write(_end, worker_id, said_goodbye, now_ms()))
        self._waiting.hint.set()  # no run waits for this worker any more

    def update(self, worker: Worker, *, busy: bool) -> None:
        """Updates a worker's description, when it asks for a run."""
        session = self._session(worker)
        session.worker, session.busy = worker, busy

    def handed(self, run: Run) -> None:
        """Marks the run's worker as busy, and remembers the run's files."""
        if run.worker_id is not None and (session := self._sessions.get(run.worker_id)):
            session.busy = True
            session.files.extend(name for name in file_names(run.files) if name not in session.files)

    def files_of(self, worker_id: str) -> frozenset[str]:
        """The files of runs that a worker got recently. Similar runs are best placed there."""
        session = self._sessions.get(worker_id)
        return frozenset() if session is None else frozenset(session.files)

    def is_busy(self, worker_id: str) -> bool:
        """True if a worker had runs at its last call, or got one since."""
        session = self._sessions.get(worker_id)
        return session is not None and session.busy

    @property
    def workers(self) -> Collection[Worker]:
        """The workers that call this server, by their last descriptions."""
        return [session.worker for session in self._sessions.values()]

    def end_heartbeats(self) -> None:
        """Answers all held heartbeats, and new ones at once, before the server stops."""
        self._is_draining = True
        self._signals.send_all()

    async def _renew(self, heartbeat: Heartbeat) -> list[str]:
        """Renews a worker's leases and returns the lost ones."""
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
