"""Operations on worker tokens: for one pool or any, until they expire or are revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from comfyward.ids import hash_secret, new_secret
from comfyward.store.schema import worker_tokens
from comfyward.store.statement import Statement


@dataclass(frozen=True)
class WorkerToken:
    """A token without its secret. After `expires_at` no worker can join with it; workers that joined before stay."""

    name: str
    pool: str | None
    role: str  # worker, or fleet: may report workers and create tokens for them
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    revoked_at: int | None

    def lets_join(self, now: int) -> bool:
        return self.expires_at is None or self.expires_at > now

    @property
    def is_for_fleets(self) -> bool:
        return self.role == "fleet"

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
) -> str:
    """Creates a token and returns it; only its hash is stored."""
    token = new_secret()
    values = {"hash": hash_secret(token), "name": name, "pool": pool, "role": role}
    conn.execute(insert(worker_tokens).values(**values, created_at=now, expires_at=expires_at))
    return token


def ensure(conn: Connection, token_hash: str, name: str, pool: str, now: int) -> None:
    """Adds a token that a fleet has created for a pool, unless it is known. A revoked one stays revoked."""
    if conn.execute(select(worker_tokens.c.hash).where(worker_tokens.c.hash == token_hash)).first() is None:
        conn.execute(insert(worker_tokens).values(hash=token_hash, name=name, pool=pool, created_at=now))


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
    """Revokes the tokens with a name. Returns how many."""
    named = (worker_tokens.c.name == name, worker_tokens.c.revoked_at.is_(None))
    return conn.execute(update(worker_tokens).where(*named).values(revoked_at=now)).rowcount


def _token(row: Row[*tuple[object, ...]]) -> WorkerToken:
    return WorkerToken(*row)  # type: ignore[arg-type]
