"""Operations on tokens with which workers join: for any pool or for one, for a while or until they are revoked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from comfyward.ids import hash_secret, new_secret
from comfyward.store.schema import worker_tokens
from comfyward.store.statement import Statement


@dataclass(frozen=True)
class WorkerToken:
    """A token without its secret. After `expires_at` nobody joins with it; who has joined stays until it is revoked."""

    name: str
    pool: str | None
    role: str  # worker, or fleet: which may say what workers there are, and have tokens for them
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
    """A token, returned this once."""
    token = new_secret()
    values = {"hash": hash_secret(token), "name": name, "pool": pool, "role": role}
    conn.execute(insert(worker_tokens).values(**values, created_at=now, expires_at=expires_at))
    return token


def ensure(conn: Connection, token_hash: str, name: str, pool: str, now: int) -> None:
    """Lets a pool's workers join with a token that a fleet has made. One that was revoked stays so."""
    if conn.execute(select(worker_tokens.c.hash).where(worker_tokens.c.hash == token_hash)).first() is None:
        conn.execute(insert(worker_tokens).values(hash=token_hash, name=name, pool=pool, created_at=now))


def in_use(conn: Connection, token_hash: str) -> WorkerToken | None:
    """The token of a hash; None when it is unknown or was revoked."""
    row = _IN_USE(conn, token_hash=token_hash).first()
    return _token(row) if row else None


def find(conn: Connection) -> list[WorkerToken]:
    """All tokens that were not revoked, oldest first."""
    query = select(*_COLUMNS).where(worker_tokens.c.revoked_at.is_(None)).order_by(worker_tokens.c.created_at)
    return [_token(row) for row in conn.execute(query)]


def touch(conn: Connection, token_hash: str, now: int) -> None:
    """Says that a worker has joined with it."""
    conn.execute(update(worker_tokens).where(worker_tokens.c.hash == token_hash).values(last_used_at=now))


def revoke(conn: Connection, name: str, now: int) -> int:
    """Revokes the tokens of a name and returns how many there were."""
    named = (worker_tokens.c.name == name, worker_tokens.c.revoked_at.is_(None))
    return conn.execute(update(worker_tokens).where(*named).values(revoked_at=now)).rowcount


def _token(row: Row[*tuple[object, ...]]) -> WorkerToken:
    return WorkerToken(*row)  # type: ignore[arg-type]
