"""Operations on lockings: revisions that servers make because an admin asked. One at a time for each environment.

A locking belongs to the server that works on it, as long as that renews it: nobody else writes to it meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select, update

from comfyward.errors import Conflict, NotFound
from comfyward.ids import new_id
from comfyward.store import environments
from comfyward.store.schema import environment_lockings
from comfyward.store.schema import environments as environment_table

MAX_ATTEMPTS = 3
LOCK, RELOCK, UPDATE = "lock", "relock", "update"
WAITING, LOCKING, PROPOSED, DONE, BROKEN, CANCELLED = "waiting", "locking", "proposed", "done", "failed", "cancelled"
TRY, PROMOTE, ACCEPT = "try", "promote", "accept"


@dataclass(frozen=True)
class Wish:
    """A request. `kind` is LOCK, RELOCK (with the newest packages and commits), or UPDATE (with the newest
    packs too, and another ComfyUI if `comfyui` says so); `next` is what follows: TRY, PROMOTE or nothing; ACCEPT
    makes the revision of an update that is else only proposed."""

    kind: str = LOCK
    comfyui: str = ""
    next: str = ""


@dataclass(frozen=True)
class Locking:
    """A locking of the spec of an environment. `found` is what it found, as JSON; `revision` what became of it, or 0.

    It is `is_new` if that revision was made for it.
    """

    id: str
    name: str
    kind: str
    comfyui: str
    next: str
    spec: str
    state: str
    step: str
    part: float | None
    message: str
    hint: str
    revision: int
    is_new: bool
    found: str | None
    server: str
    attempts: int
    created_at: int
    finished_at: int | None

    @property
    def wish(self) -> Wish:
        return Wish(self.kind, self.comfyui, self.next)


_table = environment_lockings.c
_COLUMNS = [environment_table.c.name, *(_table[name] for name in Locking.__dataclass_fields__ if name != "name")]
_JOINED = select(*_COLUMNS).join(environment_table, environment_table.c.id == _table.environment_id)
_IS_UNFINISHED = _table.finished_at.is_(None)


def begin(conn: Connection, name: str, wish: Wish, now: int) -> Locking:
    """Asks for a locking of an environment's spec as it is now. The same that is unfinished is returned.

    Raises NotFound, or Conflict if another one is unfinished.
    """
    found = environments.get(conn, name)
    unfinished = _first(conn, _table.environment_id == found.id, _IS_UNFINISHED)
    if unfinished is not None:
        if (unfinished.spec, unfinished.wish) == (found.spec, wish):
            return unfinished
        hint = "Wait until that has ended, or cancel it."
        raise Conflict(f"'{name}' is being locked already, for something else.", hint=hint)
    conn.execute(delete(environment_lockings).where(_table.environment_id == found.id))
    key = new_id()
    values = {"id": key, "environment_id": found.id, "spec": found.spec, "state": WAITING, "created_at": now}
    conn.execute(insert(environment_lockings).values(**values, **wish.__dict__, renewed_at=now))
    return get(conn, key)


def get(conn: Connection, locking_id: str) -> Locking:
    """Raises NotFound."""
    found = _first(conn, _table.id == locking_id)
    if found is None:
        raise NotFound("There is no such locking.")
    return found


def latest(conn: Connection, name: str) -> Locking | None:
    """The last locking of an environment; None before the first."""
    return _first(conn, environment_table.c.name == name)


def claim(
    conn: Connection, server: str, working: Collection[str], limit: int, now: int, left_before: int
) -> list[Locking]:
    """Gives a server those that wait, and those that nobody has renewed since a time, the oldest first, without those
    that it is `working` on.

    One that servers ended with MAX_ATTEMPTS times has failed.
    """
    is_left = and_(_table.state == LOCKING, _table.renewed_at < left_before, _table.id.not_in(list(working)))
    is_free = and_(_IS_UNFINISHED, or_(_table.state == WAITING, is_left))
    claimed = []
    for row in conn.execute(_JOINED.where(is_free).order_by(_table.created_at, _table.id).limit(limit)):
        values: dict[str, Any] = {"state": LOCKING, "server": server, "renewed_at": now}
        values["attempts"] = row.attempts + 1
        if row.attempts >= MAX_ATTEMPTS:
            message = f"The servers that locked it ended meanwhile, {MAX_ATTEMPTS} times."
            values |= {"state": BROKEN, "message": message, "finished_at": now}
        if _update(conn, row.id, is_free, **values) and values["state"] == LOCKING:
            claimed.append(get(conn, row.id))
    return claimed


def renew(conn: Connection, locking_id: str, server: str, step: str, part: float | None, now: int) -> bool:
    """Stores how far it is. False if it is the server's no longer: it was cancelled, or taken over."""
    return _update(conn, locking_id, _is_of(server), step=step, part=part, renewed_at=now)


def give_back(conn: Connection, locking_id: str, server: str) -> bool:
    """Lets another server have it: this one stops. The attempt does not count."""
    return _update(conn, locking_id, _is_of(server), state=WAITING, server="", step="", attempts=_table.attempts - 1)


def fail(conn: Connection, locking_id: str, server: str, message: str, hint: str, now: int) -> bool:
    """It ends without a revision. False if it is the server's no longer."""
    values = {"state": BROKEN, "message": message, "hint": hint, "finished_at": now}
    return _update(conn, locking_id, _is_of(server), **values)


def propose(conn: Connection, locking_id: str, found: str, now: int) -> None:
    """It ends with what would be the next revision, if somebody accepts it."""
    values = {"state": PROPOSED, "found": found, "finished_at": now}
    conn.execute(update(environment_lockings).where(_table.id == locking_id).values(**values))


def is_of(conn: Connection, locking_id: str, server: str) -> bool:
    """True if the server works on it, until the end of the transaction."""
    return _update(conn, locking_id, _is_of(server), server=server)


def is_proposed(conn: Connection, locking_id: str) -> bool:
    """True if it waits for somebody to accept it, until the end of the transaction."""
    return _update(conn, locking_id, _table.state == PROPOSED, state=PROPOSED)


def complete(conn: Connection, locking_id: str, revision: int, *, is_new: bool, found: str, now: int) -> None:
    """It ends with a revision, made for it or there before."""
    values = {"state": DONE, "revision": revision, "is_new": int(is_new), "found": found, "finished_at": now}
    conn.execute(update(environment_lockings).where(_table.id == locking_id).values(**values))


def cancel(conn: Connection, name: str, now: int) -> None:
    """Ends the unfinished locking of an environment. Raises NotFound if there is none."""
    found = environments.get(conn, name)
    is_unfinished = (_table.environment_id == found.id, _IS_UNFINISHED)
    ended = update(environment_lockings).where(*is_unfinished).values(state=CANCELLED, finished_at=now)
    if conn.execute(ended).rowcount == 0:
        raise NotFound(f"'{name}' is not being locked.")


def _is_of(server: str) -> ColumnElement[bool]:
    return and_(_table.state == LOCKING, _table.server == server)


def _update(conn: Connection, locking_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
    changed = update(environment_lockings).where(_table.id == locking_id, condition).values(**values)
    return conn.execute(changed).rowcount == 1


def _first(conn: Connection, *conditions: ColumnElement[bool]) -> Locking | None:
    query = _JOINED.where(*conditions).order_by(_table.created_at.desc(), _table.id).limit(1)
    row = conn.execute(query).first()
    return None if row is None else _locking(row)


def _locking(row: Row[*tuple[Any, ...]]) -> Locking:
    values = dict(row._mapping)
    return Locking(**{**values, "is_new": bool(values["is_new"])})
