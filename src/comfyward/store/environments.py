"""Operations on environments, their revisions, and the lock of each revision for each target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from comfyward.errors import Conflict, NotFound
from comfyward.ids import new_id
from comfyward.runs.run import DEFAULT_ENVIRONMENT
from comfyward.store import trials, web_files
from comfyward.store.rows import text_of
from comfyward.store.schema import (
    environment_learnings,
    environment_lockings,
    environment_locks,
    environment_rehearsals,
    environment_revisions,
    environments,
    runs,
    workflows,
)
from comfyward.store.statement import Statement

KEPT_FORMER = 50
KEPT_BEFORE = 2  # revisions to which one can go back at once


@dataclass(frozen=True)
class Environment:
    """An environment: `spec` is what it is to be next, `newest` the number of its newest revision, or 0.

    `current` is the number of the revision that runs get, or 0; `former` is a JSON list of those that were current
    before, the last one last.
    """

    id: str
    name: str
    spec: str
    newest: int
    created_at: int
    changed_at: int
    current: int
    former: str
    auto_promote: bool  # revisions become current by themselves once their trials are good


@dataclass(frozen=True)
class Revision:
    """A revision, whose spec and locks never change. `digests` are those of its locks, by target."""

    number: int
    spec: str
    created_at: int
    digests: Mapping[str, str]
    asked_at: int | None = None  # when an admin asked that workers try it


@dataclass(frozen=True)
class Standing:
    """The digests of an environment's revisions, by number and target; which is current; which are to be tried."""

    current: int
    digests: Mapping[int, Mapping[str, str]]
    to_try: frozenset[int]

    def of_target(self, target: str) -> Iterator[str]:
        """The digests of all revisions for a target."""
        return (digests[target] for digests in self.digests.values() if target in digests)

    def asked(self, target: str) -> list[str]:
        """The digests of the revisions to be tried, the newest first."""
        return [self.digests[number][target] for number in self._to_try() if target in self.digests[number]]

    def current_for(self, target: str) -> str | None:
        """The digest of the current revision; None if there is none for the target."""
        return self.digests.get(self.current, {}).get(target)

    def _to_try(self) -> list[int]:
        return sorted(self.to_try & self.digests.keys(), reverse=True)


@dataclass(frozen=True)
class StoredLock:
    """A lock as text, and its digest."""

    target: str
    digest: str
    text: str


_CURRENT = Statement(select(environments.c.current).where(environments.c.name == bindparam("name")))
_COLUMNS = [environments.c[name] for name in Environment.__dataclass_fields__]


def create(conn: Connection, name: str, spec: str, now: int) -> None:
    """Adds an environment without revisions. Raises Conflict if the name is taken."""
    if name == DEFAULT_ENVIRONMENT:
        raise Conflict("'default' is the ComfyUI with which workers are started.", hint="Choose another name.")
    if _found(conn, name) is not None:
        raise Conflict(f"There is an environment '{name}' already.")
    values = {"id": new_id(), "name": name, "spec": spec, "created_at": now, "changed_at": now}
    conn.execute(insert(environments).values(**values))


def find(conn: Connection) -> list[Environment]:
    """All environments, by name."""
    return [_environment(row) for row in conn.execute(select(*_COLUMNS).order_by(environments.c.name))]


def get(conn: Connection, name: str) -> Environment:
    """Raises NotFound."""
    found = _found(conn, name)
    if found is None:
        raise NotFound(f"There is no environment '{name}'.")
    return found


def current_of(conn: Connection, name: str) -> int | None:
    """The number of an environment's current revision, or 0; None if there is no such environment."""
    row = _CURRENT(conn, name=name).first()
    return None if row is None else row[0]


def change_spec(conn: Connection, name: str, former: str, spec: str, now: int) -> None:
    """Replaces the spec that was read before. Raises NotFound, or Conflict if it has changed since."""
    is_unchanged = (environments.c.name == name, environments.c.spec == former)
    if conn.execute(update(environments).where(*is_unchanged).values(spec=spec, changed_at=now)).rowcount == 0:
        get(conn, name)
        raise Conflict(f"The environment '{name}' was changed at the same time.", hint="Look at it, and try again.")


def set_auto_promote(conn: Connection, name: str, now: int, *, auto_promote: bool) -> None:
    """Has revisions become current by themselves once their trials are good, or not. Raises NotFound."""
    found, values = get(conn, name), {"auto_promote": int(auto_promote), "changed_at": now}
    conn.execute(update(environments).where(environments.c.id == found.id).values(**values))


_OF_ENVIRONMENT = (
    *(environment_learnings, environment_lockings, environment_rehearsals),
    *(environment_locks, environment_revisions),
)


def delete_named(conn: Connection, name: str) -> None:
    """Removes an environment with its revisions. Raises NotFound."""
    found = get(conn, name)
    for table in _OF_ENVIRONMENT:
        conn.execute(delete(table).where(table.c.environment_id == found.id))
    conn.execute(delete(environments).where(environments.c.id == found.id))
    trials.forget_unknown(conn)
    web_files.forget_unknown(conn)


def add_revision(conn: Connection, name: str, spec: str, lock: StoredLock, now: int) -> int:
    """Adds a revision with its first lock. Returns its number. Raises NotFound."""
    numbered = update(environments).where(environments.c.name == name).values(newest=environments.c.newest + 1)
    row = conn.execute(numbered.returning(environments.c.id, environments.c.newest)).first()
    if row is None:
        raise NotFound(f"There is no environment '{name}'.")
    key = {"environment_id": row.id, "number": row.newest}
    conn.execute(insert(environment_revisions).values(**key, spec=spec, created_at=now))
    conn.execute(insert(environment_locks).values(**key, target=lock.target, digest=lock.digest, lock=lock.text))
    return int(row.newest)


def revisions(conn: Connection, name: str) -> list[Revision]:
    """The revisions of an environment, the newest first. Raises NotFound."""
    found = get(conn, name)
    digests: dict[int, dict[str, str]] = {}
    locks = environment_locks.c
    for row in conn.execute(select(locks.number, locks.target, locks.digest).where(locks.environment_id == found.id)):
        digests.setdefault(row.number, {})[row.target] = row.digest
    columns = environment_revisions.c
    which = (columns.number, columns.spec, columns.created_at, columns.asked_at)
    query = select(*which).where(columns.environment_id == found.id).order_by(columns.number.desc())
    return [
        Revision(row.number, row.spec, row.created_at, digests.get(row.number, {}), row.asked_at)
        for row in conn.execute(query)
    ]


def lock_of(conn: Connection, name: str, number: int, target: str) -> StoredLock:
    """The lock of a revision for a target. Raises NotFound, naming what is missing."""
    found = get(conn, name)
    columns = environment_locks.c
    of_revision = (columns.environment_id == found.id, columns.number == number)
    row = conn.execute(select(columns.digest, columns.lock).where(*of_revision, columns.target == target)).first()
    if row is not None:
        return StoredLock(target, row.digest, row.lock)
    targets = list(conn.scalars(select(columns.target).where(*of_revision)))
    if targets:
        raise NotFound(f"'{name}@{number}' is locked for {', '.join(targets)}, not for {target}.")
    raise no_revision(name, number)


def no_revision(name: str, number: int) -> NotFound:
    """The error for a number that an environment has no revision of."""
    return NotFound(f"There is no revision {number} of the environment '{name}'.")


def lock_text(conn: Connection, digest: str) -> str | None:
    """The text of a lock with a digest."""
    columns = environment_locks.c
    query = select(columns.lock).where(columns.digest == digest).order_by(columns.number.desc()).limit(1)
    return conn.scalar(query)


class _Pack(msgspec.Struct):
    folder: str
    web: bool = False


class _Packs(msgspec.Struct):
    packs: list[_Pack] = []


def packs_of(conn: Connection, digest: str) -> frozenset[str]:
    """The folders of the packs that an environment has, by its digest."""
    return frozenset(pack.folder for pack in msgspec.json.decode(lock_text(conn, digest) or "{}", type=_Packs).packs)


def allowed_packs(conn: Connection, name: str, number: int, digest: str) -> frozenset[str]:
    """The folders of the packs whose scripts may run in the editor, by the lock of a revision that has this digest."""
    columns = environment_locks.c
    query = select(columns.lock).join(environments, environments.c.id == columns.environment_id)
    text = conn.scalar(query.where(environments.c.name == name, columns.number == number, columns.digest == digest))
    return frozenset(pack.folder for pack in msgspec.json.decode(text or "{}", type=_Packs).packs if pack.web)


def standing(conn: Connection) -> dict[str, Standing]:
    """The standing of every environment by name. Every server reads this every second, so it reads no locks."""
    found = {row.id: (row.name, row.current) for row in conn.execute(select(*_COLUMNS))}
    digests: dict[str, dict[int, dict[str, str]]] = {}
    locks = environment_locks.c
    for key, number, target, digest in conn.execute(
        select(locks.environment_id, locks.number, locks.target, locks.digest)
    ):
        digests.setdefault(key, {}).setdefault(number, {})[target] = digest
    to_try: dict[str, set[int]] = {}
    asked = environment_revisions.c
    for key, number in conn.execute(select(asked.environment_id, asked.number).where(asked.asked_at.is_not(None))):
        to_try.setdefault(key, set()).add(number)
    return {
        name: Standing(current, digests.get(key, {}), frozenset(to_try.get(key, ())))
        for key, (name, current) in sorted(found.items(), key=lambda each: each[1])
    }


def needed(conn: Connection) -> set[str]:
    """The digests that are in use: of current revisions and those just before, of workflows and of unfinished runs."""
    by_name = {each.name: each for each in find(conn)}
    all_digests = {name: each.digests for name, each in standing(conn).items()}
    numbers = {(name, each.current) for name, each in by_name.items()}
    numbers |= {(name, number) for name, each in by_name.items() for number in former_of(each)[-KEPT_BEFORE:]}
    chosen = select(workflows.c.environment).where(
        workflows.c.environment.contains("@"), workflows.c.deleted_at.is_(None)
    )
    for name, _, number in (text.partition("@") for text in conn.scalars(chosen.distinct())):
        numbers.add((name, int(number) if number.isdigit() else 0))
    of_revisions = {digest for name, number in numbers for digest in all_digests.get(name, {}).get(number, {}).values()}
    unfinished = (runs.c.finished_at.is_(None), runs.c.environment != DEFAULT_ENVIRONMENT)
    return of_revisions | set(conn.scalars(select(runs.c.environment).where(*unfinished).distinct()))


def named(conn: Connection) -> set[str]:
    """The digests of revisions that somebody may look at next: in use, the newest, or to be tried."""
    newest = {each.name: each.newest for each in find(conn)}
    found = {
        digest
        for name, each in standing(conn).items()
        for number in {newest.get(name, 0), *each.to_try}
        for digest in each.digests.get(number, {}).values()
    }
    return needed(conn) | found


def was_current(environment: Environment) -> frozenset[int]:
    """The numbers of the revisions that are or were current."""
    return frozenset([environment.current, *former_of(environment)]) - {0}


def former_of(environment: Environment) -> list[int]:
    """The numbers of the revisions that were current before, the last one last."""
    return msgspec.json.decode(environment.former, type=list[int])


def ask_to_try(conn: Connection, name: str, number: int, now: int) -> None:
    """Asks all workers to build and try a revision, again if it failed before. Raises NotFound."""
    found, columns, locks = get(conn, name), environment_revisions.c, environment_locks.c
    of_revision = (columns.environment_id == found.id, columns.number == number)
    if conn.execute(update(environment_revisions).where(*of_revision).values(asked_at=now)).rowcount == 0:
        raise no_revision(name, number)
    of_lock = (locks.environment_id == found.id, locks.number == number)
    trials.forget_failures(conn, list(conn.scalars(select(locks.digest).where(*of_lock))))


def promote_when_ready(conn: Connection, name: str, number: int) -> None:
    """Has a revision made current once its trial is good, and no other one of its environment. Raises NotFound."""
    found, columns = get(conn, name), environment_revisions.c
    for is_it, value in ((columns.number != number, 0), (columns.number == number, 1)):
        of_environment = (columns.environment_id == found.id, is_it)
        conn.execute(update(environment_revisions).where(*of_environment).values(promotes=value))


def to_promote(conn: Connection) -> list[tuple[str, int]]:
    """(name, number) of each revision that is to be made current once its trial is good."""
    columns = environment_revisions.c
    query = select(environments.c.name, columns.number).join(environments, environments.c.id == columns.environment_id)
    return [(row.name, row.number) for row in conn.execute(query.where(columns.promotes == 1))]


def make_current(conn: Connection, name: str, number: int, now: int) -> None:
    """Makes a revision the one that new runs get. Raises NotFound."""
    found = get(conn, name)
    if found.current == number:
        return
    former = [*former_of(found), *([found.current] if found.current else [])][-KEPT_FORMER:]
    _set_current(conn, found.id, number, former, now)
    of_revision = (environment_revisions.c.environment_id == found.id, environment_revisions.c.number == number)
    conn.execute(update(environment_revisions).where(*of_revision).values(asked_at=None))


def roll_back(conn: Connection, name: str, now: int) -> int:
    """Makes the revision current that was so before. Returns its number. Raises NotFound, Conflict."""
    found = get(conn, name)
    former = former_of(found)
    if not former:
        raise Conflict(f"No other revision of '{name}' was current before.", hint="Promote one by its number.")
    _set_current(conn, found.id, former[-1], former[:-1], now)
    return former[-1]


def _set_current(conn: Connection, environment_id: str, number: int, former: list[int], now: int) -> None:
    values = {"current": number, "former": text_of(former), "changed_at": now}
    conn.execute(update(environments).where(environments.c.id == environment_id).values(**values))
    revisions = environment_revisions.c
    conn.execute(update(environment_revisions).where(revisions.environment_id == environment_id).values(promotes=0))


def locks(conn: Connection) -> list[tuple[str, int, StoredLock]]:
    """(name, number, lock) of every revision of every environment, the newest revisions first."""
    columns = environment_locks.c
    query = (
        select(environments.c.name, columns.number, columns.target, columns.digest, columns.lock)
        .join(environments, environments.c.id == columns.environment_id)
        .order_by(environments.c.name, columns.number.desc())
    )
    return [(row.name, row.number, StoredLock(row.target, row.digest, row.lock)) for row in conn.execute(query)]


def _found(conn: Connection, name: str) -> Environment | None:
    row = conn.execute(select(*_COLUMNS).where(environments.c.name == name)).first()
    return _environment(row) if row else None


def _environment(row: Row[*tuple[object, ...]]) -> Environment:
    found = Environment(*row)  # type: ignore[arg-type]
    return replace(found, auto_promote=bool(found.auto_promote))
