"""Operations on workers and their catalogs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, func, insert, select, update

from comfyward.store import leases
from comfyward.store.rows import text_of
from comfyward.store.schema import runs, worker_tokens, workers
from comfyward.store.statement import Statement
from comfyward.store.tokens import IS_OPERATORS

PRESENT_MS = 60_000  # a worker or fleet that has been silent for this long is absent

_DRAIN = Statement(select(workers.c.drain_at).where(workers.c.id == bindparam("worker_id")))
_IS_ITS_RUN = (runs.c.worker_id == workers.c.id, runs.c.lease.is_not(None))
_LEASED_FOR = select(runs.c.account_id).where(*_IS_ITS_RUN).limit(1).scalar_subquery()
_RUNNING = func.coalesce(
    select(runs.c.environment).where(*_IS_ITS_RUN).limit(1).scalar_subquery(), workers.c.environment
)
_HOLDINGS = Statement(
    select(workers.c.id, workers.c.pool, _RUNNING, workers.c.vitals, _LEASED_FOR).where(
        workers.c.seen_at >= bindparam("seen_after"), workers.c.gone_at.is_(None)
    )
)
_HOLDER_OF = Statement(
    select(workers.c.token, workers.c.session)
    .join(runs, runs.c.worker_id == workers.c.id)
    .where(runs.c.lease == bindparam("held"))
)


@dataclass(frozen=True)
class Holding:
    """A present worker, the models it holds, and the account of a run that it has; None if it has none.

    `environment` is that of its run, else the one with which it was started.
    """

    worker_id: str
    pool: str
    environment: str
    warm: frozenset[str]
    account_id: str | None


@dataclass(frozen=True)
class Holder:
    """The hashes of the token and of the session's secret to which an id or a lease belongs.

    Either is "" for a worker that joined before servers knew of it; it is then not compared.
    """

    token: str
    session: str

    def is_of(self, token: str, session: str) -> bool:
        """True if a call with this token and session speaks for what is held."""
        return self.token in (token, "") and self.session in (session, "")


@dataclass(frozen=True)
class Announced:
    """A catalog that a number of present workers of a pool have; `since` is when the first of them started."""

    pool: str
    digest: str
    workers: int
    since: int


@dataclass(frozen=True)
class Crew:
    """The workers of one target that build environments: their pools, those with present ones, and if one of these is
    the operator's own: it has a token for any pool, or of a fleet."""

    pools: frozenset[str] = frozenset()
    present: frozenset[str] = frozenset()
    is_operators: bool = False

    @property
    def is_present(self) -> bool:
        return bool(self.present)


@dataclass(frozen=True)
class WorkerRow:
    """A worker's own description, with what the server knows of it.

    `token` is the hash of the token with which it joined, to which its id belongs while its session lives; "" for one
    that joined before servers knew. `session` is the hash of its session's secret; "" for a worker of an earlier
    version, which has none. `catalog_problem` says why its catalog was refused.
    """

    id: str
    incarnation: str
    pool: str
    environment: str
    device: str
    host: str
    sandbox: str
    versions: dict[str, Any]
    local: bool
    started_at: int
    seen_at: int
    gone_at: int | None
    vitals: dict[str, Any] = field(default_factory=dict)  # as worker.protocol.Vitals
    paused_at: int | None = None
    drain_at: int | None = None
    token: str = ""
    session: str = ""
    catalog_digest: str = ""
    catalog_problem: str | None = None
    target: str = ""  # what packages its host needs; "" if it builds no environments


def register(conn: Connection, worker: WorkerRow) -> bool:
    """Stores a worker. Returns True if it takes the place of another life of its id."""
    life = select(workers.c.incarnation, workers.c.session).where(workers.c.id == worker.id)
    before = conn.execute(life).first()
    conn.execute(delete(workers).where(workers.c.id == worker.id))
    values = {
        **worker.__dict__,
        "versions": text_of(worker.versions),
        "vitals": text_of(worker.vitals),
        "local": int(worker.local),
    }
    conn.execute(insert(workers).values(**values))
    return before is not None and (before.incarnation, before.session) != (worker.incarnation, worker.session)


def present_holder(conn: Connection, worker_id: str, seen_after: int) -> Holder | None:
    """The holder of an id whose worker is present and whose token is not revoked; None if the id is free."""
    held = (
        select(workers.c.token, workers.c.session)
        .join(worker_tokens, worker_tokens.c.hash == workers.c.token)
        .where(workers.c.id == worker_id, worker_tokens.c.revoked_at.is_(None))
        .where(present_since(seen_after))
    )
    row = conn.execute(held).first()
    return Holder(*row) if row else None


def holder_of(conn: Connection, lease: str) -> Holder | None:
    """The holder of a lease; None for a lease that is over."""
    row = _HOLDER_OF(conn, held=lease).first()
    return Holder(*row) if row else None


def count_of(conn: Connection, token_hash: str, seen_after: int) -> int:
    """The number of ids that were used with a token since a time."""
    used = select(func.count()).where(workers.c.token == token_hash, workers.c.seen_at >= seen_after)
    return int(conn.scalar(used) or 0)


def adopt(conn: Connection, worker_id: str, token_hash: str) -> None:
    """Gives a worker that joined before servers knew its token to the one that it uses."""
    conn.execute(update(workers).where(workers.c.id == worker_id, workers.c.token == "").values(token=token_hash))


def of_session(conn: Connection, holder: Holder) -> list[WorkerRow]:
    """The workers of a session that have not left.

    If none registered with its secret: those of its token that registered without one, at a server of an earlier
    version.
    """
    query = select(workers).where(workers.c.token == holder.token, workers.c.session.in_([holder.session, ""]))
    found = [_worker(row._mapping) for row in conn.execute(query.where(workers.c.gone_at.is_(None)))]
    return [each for each in found if each.session == holder.session] or found


def announced(conn: Connection, environment: str, seen_after: int) -> list[Announced]:
    """The catalogs that present workers of an environment have: first what most have, and have had for longest."""
    present = (present_since(seen_after), workers.c.environment == environment)
    query = select(workers.c.pool, workers.c.catalog_digest, func.count(), func.min(workers.c.started_at))
    rows = conn.execute(query.where(*present).group_by(workers.c.pool, workers.c.catalog_digest))
    found = [Announced(row[0], row[1], int(row[2]), int(row[3])) for row in rows if row[1]]
    return sorted(found, key=lambda each: (-each.workers, each.since, each.digest))


def mark_catalog(conn: Connection, worker_ids: Collection[str], problem: str | None) -> None:
    """Stores the reason why the catalog of some workers was refused; None if it was accepted."""
    conn.execute(update(workers).where(workers.c.id.in_(list(worker_ids))).values(catalog_problem=problem))


def touch(conn: Connection, worker_id: str, now: int, vitals: dict[str, Any] | None = None) -> None:
    """Marks a worker as present, and stores its vitals."""
    values = {} if vitals is None else {"vitals": text_of(vitals)}
    conn.execute(update(workers).where(workers.c.id == worker_id).values(seen_at=now, gone_at=None, **values))


def pause(conn: Connection, worker_id: str, now: int | None) -> None:
    """Keeps a worker from being started again once it has left; None lifts that."""
    conn.execute(update(workers).where(workers.c.id == worker_id).values(paused_at=now))


def drain(conn: Connection, worker_id: str, now: int) -> None:
    """Orders a worker to finish its runs and leave. Holds for this incarnation only."""
    conn.execute(update(workers).where(workers.c.id == worker_id).values(drain_at=now))


def orders_for(conn: Connection, worker_id: str) -> tuple[list[str], list[str], bool]:
    """(leases whose runs are to be cancelled, those whose runs are recalled, True if the worker is to drain)."""
    row = _DRAIN(conn, worker_id=worker_id).first()
    return *leases.ordered(conn, worker_id), row is not None and row[0] is not None


def paused(conn: Connection) -> list[WorkerRow]:
    """Workers that are not to be started again."""
    query = select(workers).where(workers.c.paused_at.is_not(None)).order_by(workers.c.id)
    return [_worker(row._mapping) for row in conn.execute(query)]


def leave(conn: Connection, worker_id: str, now: int) -> None:
    """Marks a worker as gone."""
    conn.execute(update(workers).where(workers.c.id == worker_id, workers.c.gone_at.is_(None)).values(gone_at=now))


def get(conn: Connection, worker_id: str) -> WorkerRow | None:
    row = conn.execute(select(workers).where(workers.c.id == worker_id)).first()
    return _worker(row._mapping) if row else None


def present_since(seen_after: int) -> ColumnElement[bool]:
    """The condition that a worker is present: seen since a time (ms) and not gone."""
    return and_(workers.c.seen_at >= seen_after, workers.c.gone_at.is_(None))


def find(conn: Connection, seen_after: int) -> list[WorkerRow]:
    """Present workers: seen since a time and not gone."""
    query = select(workers).where(present_since(seen_after)).order_by(workers.c.id)
    return [_worker(row._mapping) for row in conn.execute(query)]


def holdings(conn: Connection, seen_after: int) -> list[Holding]:
    """The holdings of all present workers. Every server reads this every few seconds, so it selects few columns."""
    return [
        Holding(worker_id, pool, environment, frozenset(_warm.decode(vitals).warm), account_id)
        for worker_id, pool, environment, vitals, account_id in _HOLDINGS(conn, seen_after=seen_after)
    ]


def local_ids(conn: Connection, prefix: str) -> list[str]:
    """The local workers of a server (by id prefix) that are not marked as gone."""
    own = (workers.c.local == 1, workers.c.id.startswith(prefix, autoescape=True))
    return list(conn.scalars(select(workers.c.id).where(*own, workers.c.gone_at.is_(None))))


def last_seen(conn: Connection, limit: int) -> list[WorkerRow]:
    """The workers seen last, present or not, most recent last."""
    newest = conn.execute(select(workers).order_by(workers.c.seen_at.desc()).limit(limit)).all()
    return [_worker(row._mapping) for row in reversed(newest)]


def targets(conn: Connection, seen_after: int) -> dict[str, dict[str, int]]:
    """The number of present workers by pool and target; "" is that of those that build no environments."""
    query = select(workers.c.pool, workers.c.target, func.count())
    here = query.where(present_since(seen_after))
    found: dict[str, dict[str, int]] = {}
    for pool, target, count in conn.execute(here.group_by(workers.c.pool, workers.c.target)):
        found.setdefault(pool, {})[target] = int(count)
    return found


def crews(conn: Connection, targets: Collection[str], seen_after: int, known_after: int) -> dict[str, Crew]:
    """The crews of some targets. Workers seen after `seen_after` are present; pools of those seen after `known_after`
    belong to a crew."""
    is_present = present_since(seen_after)
    query = select(workers.c.target, workers.c.pool, IS_OPERATORS, is_present)
    query = query.join(worker_tokens, worker_tokens.c.hash == workers.c.token)
    here = (workers.c.target.in_(list(targets)), workers.c.seen_at >= known_after)
    rows = conn.execute(query.where(*here).distinct()).all()
    return {target: _crew([row for row in rows if row[0] == target]) for target in targets}


def _crew(rows: Collection[Any]) -> Crew:
    pools = frozenset(pool for _, pool, _, _ in rows)
    present = frozenset(pool for _, pool, _, is_present in rows if is_present)
    return Crew(pools, present, any(row[2] and row[3] for row in rows))


@dataclass(frozen=True)
class CrewMember:
    """A present worker that builds environments. `is_operators` is as in Crew."""

    id: str
    target: str
    is_operators: bool


def crew_members(conn: Connection, seen_after: int) -> list[CrewMember]:
    """The present workers that build environments, of all targets."""
    columns = (workers.c.id, workers.c.target, IS_OPERATORS)
    query = select(*columns).join(worker_tokens, worker_tokens.c.hash == workers.c.token)
    here = (present_since(seen_after), workers.c.target != "")
    return [CrewMember(row[0], row[1], bool(row[2])) for row in conn.execute(query.where(*here))]


def known_pools(conn: Connection) -> dict[str, str]:
    """Every pool that a worker has ever served, with its last device."""
    last = func.max(workers.c.seen_at)
    query = select(workers.c.pool, workers.c.device).group_by(workers.c.pool, workers.c.device).order_by(last)
    return {row.pool: row.device for row in conn.execute(query)}


def memory_of_pools(conn: Connection, seen_after: int) -> dict[str, int]:
    """The memory in bytes of the smallest device of each pool, of workers seen since a time that have told it."""
    found: dict[str, int] = {}
    for pool, vitals in conn.execute(select(workers.c.pool, workers.c.vitals).where(workers.c.seen_at >= seen_after)):
        told = _memory.decode(vitals).memory
        if told is not None and told.vram_total > 0:
            found[pool] = min(told.vram_total, found.get(pool, told.vram_total))
    return found


def local_pools(conn: Connection, seen_after: int) -> set[str]:
    """The pools that local workers of any server have served since a time. Their servers can start workers again."""
    query = select(workers.c.pool).where(workers.c.local == 1, workers.c.seen_at >= seen_after).distinct()
    return set(conn.scalars(query))


def count_present(conn: Connection, seen_after: int) -> dict[str, int]:
    """The number of present workers by pool."""
    query = select(workers.c.pool, func.count()).where(present_since(seen_after))
    return {row.pool: int(row[1]) for row in conn.execute(query.group_by(workers.c.pool))}


class _Warm(msgspec.Struct):
    """The part of a worker's vitals that placement reads."""

    warm: list[str] = []


class _Device(msgspec.Struct):
    vram_total: int = 0


class _Memory(msgspec.Struct):
    """The part of a worker's vitals that tells the memory of its device; null until its ComfyUI has answered."""

    memory: _Device | None = None


_warm = msgspec.json.Decoder(_Warm)
_memory = msgspec.json.Decoder(_Memory)


def _worker(values: Any) -> WorkerRow:
    values = dict(values)
    values["versions"], values["vitals"] = (msgspec.json.decode(values[name]) for name in ("versions", "vitals"))
    values["local"] = bool(values["local"])
    return WorkerRow(**values)
