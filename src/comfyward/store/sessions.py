"""Operations on browser sessions and on the one-time links that begin them.

A session that was begun with an API key lives no longer than the key.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from comfyward.accounts.account import Account, Caller
from comfyward.errors import NotFound
from comfyward.ids import hash_secret, new_id, new_secret
from comfyward.store import accounts
from comfyward.store.schema import api_keys, login_links, sessions

LASTS_MS = 30 * 24 * 3600 * 1000
LINK_LASTS_MS = 7 * 24 * 3600 * 1000
MAX_DEVICE_LENGTH = 300


@dataclass(frozen=True)
class Session:
    """A browser that is logged in. `device` is what it says of itself (its User-Agent)."""

    id: str
    account_id: str
    api_key_id: str | None
    device: str
    created_at: int
    seen_at: int
    expires_at: int


_COLUMNS = [sessions.c[name] for name in Session.__dataclass_fields__]


def begin(conn: Connection, caller: Caller, now: int, device: str = "") -> str:
    """A new session's token, returned this once; outdated sessions are removed on the way."""
    conn.execute(delete(sessions).where(sessions.c.expires_at < now))
    token = new_secret()
    conn.execute(
        insert(sessions).values(
            hash=hash_secret(token),
            id=new_id(),
            account_id=caller.account.id,
            api_key_id=caller.api_key_id,
            device=device[:MAX_DEVICE_LENGTH],
            created_at=now,
            seen_at=now,
            expires_at=now + LASTS_MS,
        )
    )
    return token


def caller(conn: Connection, token: str, now: int) -> tuple[Caller, int] | None:
    """Who a session belongs to and when it was last seen; None once it is over, or its key was revoked."""
    key_is_good = and_(
        api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    )
    query = (
        select(sessions.c.account_id, sessions.c.api_key_id, sessions.c.id, sessions.c.seen_at)
        .outerjoin(api_keys, api_keys.c.id == sessions.c.api_key_id)
        .where(sessions.c.hash == hash_secret(token), sessions.c.expires_at > now)
        .where(or_(sessions.c.api_key_id.is_(None), key_is_good))
    )
    row = conn.execute(query).first()
    return (Caller(accounts.by_id(conn, row.account_id), row.api_key_id, row.id), row.seen_at) if row else None


def touch(conn: Connection, session_id: str, now: int) -> None:
    """Says that a session is in use, which prolongs it."""
    conn.execute(update(sessions).where(sessions.c.id == session_id).values(seen_at=now, expires_at=now + LASTS_MS))


def find(conn: Connection, account_id: str, now: int) -> list[Session]:
    """The account's sessions, the one seen last first."""
    query = select(*_COLUMNS).where(sessions.c.account_id == account_id, sessions.c.expires_at > now)
    return [Session(*row) for row in conn.execute(query.order_by(sessions.c.seen_at.desc()))]


def end(conn: Connection, account_id: str, session_id: str) -> None:
    """Raises NotFound."""
    ended = conn.execute(delete(sessions).where(sessions.c.account_id == account_id, sessions.c.id == session_id))
    if ended.rowcount == 0:
        raise NotFound("There is no such session.")


def end_others(conn: Connection, account_id: str, session_id: str | None) -> None:
    """Ends every session of the account but one."""
    conn.execute(delete(sessions).where(sessions.c.account_id == account_id, sessions.c.id != (session_id or "")))


def offer_link(conn: Connection, account_id: str, now: int, lasts_ms: int) -> str:
    """A token that lets its holder in once; it replaces the account's former ones. Returned this once."""
    conn.execute(delete(login_links).where(login_links.c.account_id == account_id))
    token = new_secret()
    conn.execute(
        insert(login_links).values(
            hash=hash_secret(token), account_id=account_id, created_at=now, expires_at=now + lasts_ms
        )
    )
    return token


def link_owner(conn: Connection, token: str, now: int) -> Account:
    """Whom a one-time link lets in. Raises NotFound for one that was used or has expired."""
    query = select(login_links.c.account_id).where(
        login_links.c.hash == hash_secret(token), login_links.c.expires_at > now
    )
    account_id = conn.scalar(query)
    if account_id is None:
        hint = "Ask an admin for another, or make one on the server with 'comfyward users link NAME'."
        raise NotFound("This link was used before or has expired.", hint=hint)
    return accounts.by_id(conn, account_id)


def use_link(conn: Connection, token: str, now: int) -> Account:
    """Takes a one-time link. Raises NotFound as `link_owner`."""
    owner = link_owner(conn, token, now)
    conn.execute(delete(login_links).where(login_links.c.hash == hash_secret(token)))
    return owner
