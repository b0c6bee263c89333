"""Operations on learnings: trials in which packs may fetch files, so that an environment gets them. One at a time for
each environment; the last one is kept with its finds.

A learning belongs to the worker that claimed it. If that goes, another one may have it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, delete, exists, insert, or_, select, update

from comfyward.errors import Conflict, NotFound
from comfyward.ids import new_id
from comfyward.store import environments
from comfyward.store.schema import environment_learnings, environment_locks, workers
from comfyward.store.schema import environments as environment_table
from comfyward.store.workers import present_since

WAITING, LEARNING, DONE, BROKEN, CANCELLED = "waiting", "learning", "done", "failed", "cancelled"


@dataclass(frozen=True)
class LearningWish:
    """A request: the hosts that ComfyUI may reach meanwhile, and a graph to execute (JSON; "" for none)."""

    hosts: Sequence[str]
    graph: str = ""


@dataclass(frozen=True)
class Learning:
    """A learning of a revision. `found` is what was found, as JSON; None before it has ended well."""

    id: str
    name: str
    number: int
    wanted: LearningWish
    state: str
    worker: str
    message: str
    found: str | None
    created_at: int
    finished_at: int | None


_table = environment_learnings.c
_COLUMNS = (
    *(environment_table.c.name, _table.id, _table.number, _table.hosts, _table.graph, _table.state, _table.worker),
    *(_table.message, _table.found, _table.created_at, _table.finished_at),
)
_JOINED = select(*_COLUMNS).join(environment_table, environment_table.c.id == _table.environment_id)


def begin(conn: Connection, name: str, number: int, wanted: LearningWish, now: int) -> Learning:
    """Asks for a learning of a revision; the one before is forgotten. Raises NotFound, or Conflict if one goes on."""
    found = environments.get(conn, name)
    unfinished = _first(conn, _table.environment_id == found.id, _table.finished_at.is_(None))
    if unfinished is not None:
        raise Conflict(f"'{name}' is being learned already.", hint="Wait until that has ended, or cancel it.")
    conn.execute(delete(environment_learnings).where(_table.environment_id == found.id))
    values: dict[str, Any] = {"id": new_id(), "environment_id": found.id, "number": number, "state": WAITING}
    values |= {"hosts": msgspec.json.encode(list(wanted.hosts)).decode(), "graph": wanted.graph, "created_at": now}
    conn.execute(insert(environment_learnings).values(**values))
    return latest(conn, name)


def latest(conn: Connection, name: str) -> Learning:
    """The last learning of an environment. Raises NotFound."""
    found = _first(conn, environment_table.c.name == name)
    if found is None:
        environments.get(conn, name)
        raise NotFound(f"Nothing was learned of '{name}' yet.", hint="Ask for it first.")
    return found


def asked(conn: Connection, seen_after: int) -> list[str]:
    """The digests, for any target, of revisions of which somebody is to learn."""
    is_its_revision = and_(
        environment_locks.c.environment_id == _table.environment_id, environment_locks.c.number == _table.number
    )
    query = select(environment_locks.c.digest).join(environment_learnings, is_its_revision)
    return list(conn.scalars(query.where(_is_open(seen_after)).order_by(_table.created_at)))


def claim(conn: Connection, digest: str, worker: str, seen_after: int) -> Learning | None:
    """Gives a worker the learning that is asked for of a revision; None if there is none, or another has it."""
    is_its_revision = and_(
        environment_locks.c.environment_id == _table.environment_id,
        environment_locks.c.number == _table.number,
        environment_locks.c.digest == digest,
    )
    query = select(_table.id).join(environment_locks, is_its_revision)
    is_free = or_(_is_open(seen_after), and_(_table.state == LEARNING, _table.worker == worker))
    key = conn.scalar(query.where(is_free).order_by(_table.created_at).limit(1))
    if key is None:
        return None
    claimed = update(environment_learnings).where(_table.id == key, is_free).values(state=LEARNING, worker=worker)
    return _first(conn, _table.id == key) if conn.execute(claimed).rowcount else None


def give_back(conn: Connection, worker: str) -> None:
    """Lets others have what a worker left unfinished: it has started again."""
    is_its = and_(_table.state == LEARNING, _table.worker == worker)
    conn.execute(update(environment_learnings).where(is_its).values(state=WAITING, worker=""))


def finish(conn: Connection, learning_id: str, workers: Sequence[str], found: str, message: str, now: int) -> bool:
    """Stores what one of these workers found. False if the learning is not theirs, or was cancelled."""
    is_theirs = and_(_table.id == learning_id, _table.state == LEARNING, _table.worker.in_(list(workers)))
    values = {"state": DONE if found else BROKEN, "found": found or None, "message": message, "finished_at": now}
    return conn.execute(update(environment_learnings).where(is_theirs).values(**values)).rowcount == 1


def cancel(conn: Connection, name: str, now: int) -> None:
    """Ends the unfinished learning of an environment. Raises NotFound if there is none."""
    found = environments.get(conn, name)
    is_unfinished = and_(_table.environment_id == found.id, _table.finished_at.is_(None))
    ended = update(environment_learnings).where(is_unfinished).values(state=CANCELLED, finished_at=now)
    if conn.execute(ended).rowcount == 0:
        raise NotFound(f"'{name}' is not being learned.")


def _is_open(seen_after: int) -> ColumnElement[bool]:
    is_present = exists().where(workers.c.id == _table.worker, present_since(seen_after))
    return or_(_table.state == WAITING, and_(_table.state == LEARNING, ~is_present))


def _first(conn: Connection, *conditions: ColumnElement[bool]) -> Learning | None:
    row = conn.execute(_JOINED.where(*conditions).order_by(_table.created_at.desc(), _table.id).limit(1)).first()
    if row is None:
        return None
    values = dict(row._mapping)
    wanted = LearningWish(msgspec.json.decode(values.pop("hosts"), type=list[str]), values.pop("graph"))
    return Learning(wanted=wanted, **values)
