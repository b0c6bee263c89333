"""The next revision of an environment, made in the same way by servers and commands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from sqlalchemy import Connection

from comfyward.environments.lock import Lock, lock_json, parse_lock
from comfyward.environments.locking import with_web
from comfyward.environments.spec import parse_spec
from comfyward.environments.target import TARGET
from comfyward.errors import NotFound
from comfyward.store import environments
from comfyward.store.environments import StoredLock
from comfyward.store.lockings import LOCK, RELOCK


@dataclass(frozen=True)
class Start:
    """The state from which a revision is made: `known` is a lock for which nothing has to be looked for, of `former`
    nothing from the same source is fetched again."""

    known: Lock | None
    former: Lock | None


@dataclass(frozen=True)
class Base:
    """The newest revision of an environment, with its lock for this host's target; `number` is 0 before the first."""

    number: int = 0
    spec: str = ""
    lock: Lock | None = None

    def lock_of(self, spec: str) -> Lock | None:
        """The lock of a spec for which nothing has to be looked for: it is the same, but for the scripts it allows."""
        if self.lock is None or self.spec == spec:
            return self.lock
        wanted = parse_spec(spec)
        return with_web(self.lock, wanted) if parse_spec(self.spec).is_same_but_for_web(wanted) else None

    def start(self, spec: str, kind: str) -> Start:
        """The start of a locking: a RELOCK looks for everything anew, an UPDATE begins with what is there."""
        return Start(self.lock_of(spec) if kind == LOCK else None, None if kind == RELOCK else self.lock)

    def is_same(self, spec: str, lock: Lock) -> bool:
        """True if it has this spec and this content."""
        return self.lock is not None and (self.spec, self.lock.digest) == (spec, lock.digest)


def base_of(conn: Connection, name: str) -> Base:
    """The newest revision of an environment, with which the next one is compared. Raises NotFound."""
    number = environments.get(conn, name).newest
    if not number:
        return Base()
    spec = next(each.spec for each in environments.revisions(conn, name) if each.number == number)
    with contextlib.suppress(NotFound):  # it is locked for other targets only
        return Base(number, spec, parse_lock(environments.lock_of(conn, name, number, TARGET).text))
    return Base(number, spec)


def add_updated(conn: Connection, name: str, former: str, spec: str, lock: Lock, now: int) -> tuple[int, bool]:
    """As `add`, after the environment got the spec, if that is another than the former one, of which it was made.

    Raises NotFound, or Conflict if the environment has another spec by now.
    """
    if spec != former:
        environments.change_spec(conn, name, former, spec, now)
    return add(conn, name, spec, lock, now)


def add(conn: Connection, name: str, spec: str, lock: Lock, now: int) -> tuple[int, bool]:
    """Adds a revision, unless the newest has the same spec and content. Returns (its number, True if it is new).

    Raises NotFound.
    """
    base = base_of(conn, name)
    if base.is_same(spec, lock):
        return base.number, False
    stored = StoredLock(lock.target, lock.digest, lock_json(lock))
    return environments.add_revision(conn, name, spec, stored, now), True
