"""Operations on worker tokens: for one pool or any, until they expire or are revoked.

A token for one pool is trusted with that pool only: with its runs, its catalog and its copies of models. A token for
any pool speaks for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from comfyward.ids import hash_secret, new_secret
from comfyward.store.schema import worker_tokens
from comfyward.store.statement import Statement

SERVER = "server"  # `made_by` of the tokens that servers make for workers of their own
IS_OPERATORS = or_(worker_tokens.c.pool.is_(None), worker_tokens.c.made_by.is_not(None))
"""As `WorkerToken.is_operators`, of a row."""


@dataclass(frozen=True)
class WorkerToken:
    """A token without its secret. After `expires_at` no worker can join with it; workers that joined before stay.

    `made_by` is the hash of the fleet's token that made it, or SERVER.
    """

    hash: str
    name: str
    pool: str | None
    role: str  # worker, or fleet: may report workers and create tokens for them
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None
    made_by: str | None

    def lets_join(self, now: int) -> bool:
        return self.expires_at is None or self.expires_at > now

    @property
    def is_for_fleets(self) -> bool:
        return self.role == "fleet"

    @property
    def is_shared(self) -> bool:
        """True if what its workers bring is good for every pool."""
        return self.pool is None

    @property
    def is_servers_own(self) -> bool:
        return self.made_by == SERVER

    @property
    def is_operators(self) -> bool:
        """True if it is for machines of the operator's own: for any pool, or made by a fleet."""
        return self.pool is None or self.made_by is not None

    def serves(self, pool: str) -> bool:
        return self.pool is None or self.pool == pool


_COLUMNS = [worker_tokens.c[name] for name in WorkerToken.__dataclass_fields__]
_IN_USE = Statement(
    select(*_COLUMNS).where(worker_tokens.c.hash == bindparam("token_hash"), worker_tokens.c.revoked_at.is_(None))
)


def create(
    conn: Connection,
    name: str,
    now: int,
    *,
    pool: str | None = None,
    role: Literal["worker", "fleet"] = "worker",
    expires_at: int | None = None,
    made_by: str | None = None,
) -> str:
    """Creates a token and returns it; only its hash is stored."""
    token = new_secret()
    values = {"hash": hash_secret(token), "name": name, "pool": pool, "role": role, "made_by": made_by}
    conn.execute(insert(worker_tokens).values(**values, created_at=now, expires_at=expires_at))
    return token


def ensure(
    conn: Connection,
    token_hash: str,
    name: str,
    pool: str,
    now: int,
    *,
    made_by: str | None = None,
    expires_at: int | None = None,
) -> None:
    """Adds a token that a fleet has created for a pool, unless it is known. A revoked one stays revoked."""
    if conn.execute(select(worker_tokens.c.hash).where(worker_tokens.c.hash == token_hash)).first() is None:
        values = {"hash": token_hash, "name": name, "pool": pool, "made_by": made_by, "expires_at": expires_at}
        conn.execute(insert(worker_tokens).values(**values, created_at=now))
    else:  # of the version before, which did not know who made it
        is_its_own = (worker_tokens.c.hash == token_hash, worker_tokens.c.name == name)
        conn.execute(
            update(worker_tokens).where(*is_its_own, worker_tokens.c.made_by.is_(None)).values(made_by=made_by)
        )


def made_by(conn: Connection, token_hash: str) -> set[str]:
    """The hashes of the tokens that a fleet's token made."""
    return set(conn.scalars(select(worker_tokens.c.hash).where(worker_tokens.c.made_by == token_hash)))


def in_use(conn: Connection, token_hash: str) -> WorkerToken | None:
    """A token by its hash; None if it is unknown or revoked."""
    row = _IN_USE(conn, token_hash=token_hash).first()
    return _token(row) if row else None


def find(conn: Connection) -> list[WorkerToken]:
    """All tokens that are not revoked, oldest first."""
    query = select(*_COLUMNS).where(worker_tokens.c.revoked_at.is_(None)).order_by(worker_tokens.c.created_at)
    return [_token(row) for row in conn.execute(query)]


def touch(conn: Connection, token_hash: str, now: int) -> None:
    """Marks a token as used now."""
    conn.execute(update(worker_tokens).where(worker_tokens.c.hash == token_hash).values(last_used_at=now))


def revoke(conn: Connection, name: str, now: int) -> int:
    """Revokes the tokens with a name, and those that they made. Returns how many had the name."""
    named = (worker_tokens.c.name == name, worker_tokens.c.revoked_at.is_(None))
    hashes = list(conn.scalars(select(worker_tokens.c.hash).where(*named)))
    is_one = or_(worker_tokens.c.hash.in_(hashes), worker_tokens.c.made_by.in_(hashes))
    conn.execute(update(worker_tokens).where(is_one, worker_tokens.c.revoked_at.is_(None)).values(revoked_at=now))
    return len(hashes)


def _token(row: Row[*tuple[object, ...]]) -> WorkerToken:
    return WorkerToken(*row)  # type: ignore[arg-type]
