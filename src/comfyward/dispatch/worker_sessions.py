"""Worker sessions: identity, heartbeats that renew leases, and their end.

Each call of a worker may go to another server, so a server knows only the workers that call it. A worker makes a secret
for its session, registers with it, and sends it with each call. So an id belongs to the session that registered it for
as long as that lasts, and a lease to the session that got it, even among workers of one token.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from comfyward.dispatch import transitions
from comfyward.dispatch.placement import NOBODY, Worker
from comfyward.dispatch.publisher import Publisher
from comfyward.dispatch.vitals import bounded
from comfyward.dispatch.waiting import WaitingWorkers
from comfyward.dispatch.worker_orders import WorkerOrders, WorkerRef
from comfyward.dispatch.worker_signals import WorkerSignals
from comfyward.errors import Forbidden, StaleLease, WorkerIdTaken
from comfyward.runs.change import Change
from comfyward.runs.run import EndReason, Run
from comfyward.runs.waiting_run import file_names
from comfyward.store import leases, workers
from comfyward.store.db import Database, now_ms
from comfyward.store.notices import Notice, WorkerJoined
from comfyward.store.tokens import WorkerToken
from comfyward.store.workers import Holder, WorkerRow
from comfyward.worker.protocol import Heartbeat, Orders

SEEN_RESOLUTION_MS = 5_000
IDS_PER_TOKEN = 10_000
IDS_COUNTED_MS = 3600 * 1000
MAX_REMEMBERED_LEASES = 10_000
REMEMBERED_FILES = 200


@dataclass
class _Session:
    """The state of a worker between its calls: its last description, and `busy` if it had runs then.

    `ordered` is what it was last told that it may take its time for, or pass over: environments, and recalled runs.
    """

    worker: Worker
    busy: bool = False
    ordered: Sequence[str] = ()
    seen_at: int = 0
    files: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED_FILES))  # probably in its host's cache


class WorkerSessions:
    """The sessions of the workers that call this server."""

    def __init__(
        self,
        db: Database,
        publisher: Publisher,
        signals: WorkerSignals,
        orders: WorkerOrders,
        waiting: WaitingWorkers,
        lease_s: float,
    ) -> None:
        self._db, self._publisher, self._signals, self._orders = db, publisher, signals, orders
        self._waiting = waiting
        self.lease_s = lease_s
        self._sessions: dict[str, _Session] = {}
        self._refs: dict[str, tuple[str, WorkerRef]] = {}  # (incarnation, ref) by worker
        self._refs_dropped = 0
        self._holders: dict[str, Holder] = {}  # by lease, which never changes hands
        self._is_draining = False
        db.notices.subscribe(self._on_notice, self._drop_all_refs)

    async def join(self, worker: WorkerRow, token: WorkerToken) -> None:
        """Registers a new incarnation of a worker: no server accepts an earlier one from now on, nor its leases.

        Raises WorkerIdTaken while another session has this id, Forbidden for a token that was used for too many.
        """
        alive_after = now_ms() - int(self.lease_s * 1000) - SEEN_RESOLUTION_MS
        if await self._db.write(_register, worker, token, alive_after):
            await self.end(worker.id)
            await self._db.write(_register, worker, token, alive_after)
        self._drop_ref(worker.id)
        self._db.notices.send(WorkerJoined(worker.id))

    async def identify(self, token: WorkerToken, session: str, worker_id: str, incarnation: str) -> WorkerRef:
        """The worker that makes a call; `session` is the hash of the secret that came with it, "" without one.

        Raises StaleLease if a later incarnation of it has registered, Forbidden if it joined with another token or
        secret.
        """
        known_incarnation, ref = self._refs.get(worker_id, (None, None))
        if ref is None or known_incarnation != incarnation:
            dropped = self._refs_dropped
            row = await self._db.lookup(workers.get, worker_id)
            if row is None or row.incarnation != incarnation:
                raise StaleLease("Unknown worker: it must register first.")
            holder = Holder(await self._token_of(row, token), row.session)
            ref = WorkerRef(row.id, row.pool, row.environment, row.device, holder, row.target)
            if dropped == self._refs_dropped and holder.token:
                self._refs[worker_id] = incarnation, ref
            else:  # the row may be older than a notice that came meanwhile, or tell of no token yet
                self._refs.pop(worker_id, None)
        if ref.holder.token != token.hash:
            raise Forbidden(f"Worker '{worker_id}' joined with another token than '{token.name}'.")
        if not ref.holder.is_of(token.hash, session):
            raise Forbidden(f"The call does not carry the secret of the session of worker '{worker_id}'.")
        return ref

    async def check_lease(self, token: WorkerToken, session: str, lease: str) -> None:
        """Raises StaleLease unless the session of a worker that joined with this token holds the lease."""
        holder = self._holders.get(lease)
        if holder is None:
            holder = await self._db.lookup(workers.holder_of, lease)
            if holder is not None and holder.token:  # else until the worker's next heartbeat, after an upgrade
                self._remember(lease, holder)
        if holder is None or not holder.is_of(token.hash, session):
            raise StaleLease("The lease is over or was given to another worker.")

    async def heartbeat(self, ref: WorkerRef, heartbeat: Heartbeat) -> Orders:
        """Renews leases, then waits for an order for up to `wait_s` seconds."""
        session = self._session(Worker(ref.worker_id, ref.pool, ref.environment, False, frozenset()))
        signal = self._signals.expect(ref.worker_id)
        session.busy = bool(heartbeat.leases)
        lost = await self._renew(heartbeat)
        await self._update_seen(session, heartbeat)
        orders, ordered = await self._orders.of(ref, lost), session.ordered
        session.ordered = [*orders.environments, *orders.learn, *orders.recall]
        if self._is_draining or orders.lost or orders.cancel or orders.drain or orders.log:
            return orders
        if set(session.ordered) - set(ordered):
            return orders
        try:
            async with asyncio.timeout(heartbeat.wait_s):
                await signal.wait()
        except TimeoutError:
            return orders  # there was none of those that cannot wait
        orders = await self._orders.of(ref, [])
        session.ordered = [*orders.environments, *orders.learn, *orders.recall]
        return orders

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
        self._orders.discard(worker_id)
        self._drop_ref(worker_id)
        self._publisher.publish(*await self._db.write(_end, worker_id, said_goodbye, now_ms()))
        self._waiting.hint.set()  # no run waits for this worker any more

    def update(self, worker: Worker, *, busy: bool) -> None:
        """Updates a worker's description, when it asks for a run."""
        session = self._session(worker)
        session.worker, session.busy = worker, busy

    def handed(self, run: Run, *, isolated: bool) -> None:
        """Marks the run's worker as busy, and its ComfyUI as the run's; remembers the run's files, and who holds it."""
        if run.worker_id is not None and (session := self._sessions.get(run.worker_id)):
            session.busy = True
            account, worker = (run.account_id if isolated else session.worker.account), session.worker
            if (worker.account, worker.environment) != (account, run.environment):
                session.worker = replace(worker, account=account, environment=run.environment, warm=frozenset())
            session.files.extend(name for name in file_names(run.files) if name not in session.files)
        if run.lease is not None and (known := self._refs.get(run.worker_id or "")):
            self._remember(run.lease, known[1].holder)

    def account_of(self, worker_id: str) -> str:
        """The account whose ComfyUI a worker has, or will have for the last run that it got; NOBODY if unknown."""
        session = self._sessions.get(worker_id)
        return NOBODY if session is None else session.worker.account

    def environment_of(self, worker_id: str) -> str:
        """The environment whose ComfyUI a worker has, or will have for the last run that it got; "" if unknown."""
        session = self._sessions.get(worker_id)
        return "" if session is None else session.worker.environment

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
        kept = await self._db.write(leases.renew, heartbeat.worker_id, heartbeat.leases, expires_at=expires_at)
        return [lease for lease in heartbeat.leases if lease not in kept]

    async def _update_seen(self, session: _Session, heartbeat: Heartbeat) -> None:
        now = now_ms()
        if heartbeat.vitals is not None or now - session.seen_at > SEEN_RESOLUTION_MS:
            session.seen_at = now
            vitals = None if heartbeat.vitals is None else bounded(heartbeat.vitals)
            await self._db.write(workers.touch, heartbeat.worker_id, now, vitals)

    def _session(self, worker: Worker) -> _Session:
        return self._sessions.setdefault(worker.id, _Session(worker))

    async def _token_of(self, worker: WorkerRow, token: WorkerToken) -> str:
        """The hash of the token to which a worker belongs. One of before an upgrade belongs to the first that calls."""
        if worker.token or not token.serves(worker.pool):
            return worker.token
        await self._db.write(workers.adopt, worker.id, token.hash)
        return token.hash

    def _remember(self, lease: str, holder: Holder) -> None:
        if len(self._holders) >= MAX_REMEMBERED_LEASES:
            self._holders.clear()
        self._holders[lease] = holder

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


def _register(conn: Connection, worker: WorkerRow, token: WorkerToken, alive_after: int) -> bool:
    """Registers a worker. Returns True if it takes the place of another life of its id."""
    # A server's own workers have the ids that it gives them, whoever took one of them meanwhile.
    holder = None if token.is_servers_own else workers.present_holder(conn, worker.id, alive_after)
    if holder is not None and not holder.is_of(worker.token, worker.session):
        by = "another process with this token" if holder.token == worker.token else "a worker with another token"
        raise WorkerIdTaken(f"The worker id '{worker.id}' is in use by {by}.")
    known = workers.get(conn, worker.id)
    if (known is None or known.token != token.hash) and (
        workers.count_of(conn, token.hash, now_ms() - IDS_COUNTED_MS) >= IDS_PER_TOKEN
    ):
        raise Forbidden(
            f"The token '{token.name}' was used for {IDS_PER_TOKEN} workers within an hour.",
            hint="Create further tokens, or start workers again under the ids that they had.",
        )
    return workers.register(conn, worker)


def _end(conn: Connection, worker_id: str, said_goodbye: bool, now: int) -> list[Change | None]:
    workers.leave(conn, worker_id, now)
    held = leases.leased_by(conn, worker_id)
    if said_goodbye:
        return [transitions.given_back(conn, run, now) for run in held]
    return [transitions.ended(conn, run, EndReason.WORKER_LOST, now) for run in held]
