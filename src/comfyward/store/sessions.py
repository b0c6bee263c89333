"""Operations on browser sessions: a cookie's token stands for the key that it was begun with."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, insert, or_, select

from comfyward.accounts.account import Caller
from comfyward.ids import hash_secret, new_secret
from comfyward.store import accounts
from comfyward.store.schema import api_keys, sessions


def begin(conn: Connection, caller: Caller, now: int, lasts_ms: int) -> str:
    """A new session's token, returned this once; outdated sessions are removed on the way."""
    conn.execute(delete(sessions).where(sessions.c.expires_at < now))
    token = new_secret()
    conn.execute(
        insert(sessions).values(
            hash=hash_secret(token),
            account_id=caller.account.id,
            api_key_id=caller.api_key_id,
            created_at=now,
            expires_at=now + lasts_ms,
        )
    )
    return token


def caller(conn: Connection, token: str, now: int) -> Caller | None:
    """Who a session belongs to; None once it is over, or its key was revoked."""
    key_is_good = and_(
        api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    )
    query = (
        select(sessions.c.account_id, sessions.c.api_key_id)
        .outerjoin(api_keys, api_keys.c.id == sessions.c.api_key_id)
        .where(sessions.c.hash == hash_secret(token), sessions.c.expires_at > now)
        .where(or_(sessions.c.api_key_id.is_(None), key_is_good))
    )
    row = conn.execute(query).first()
    return Caller(accounts.by_id(conn, row.account_id), row.api_key_id) if row else None
