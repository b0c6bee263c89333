"""Operations on browser sessions, and on the one-time links that start them.

A session started with an API key ends with the key.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, update

from comfyward.accounts.account import Account, Caller
from comfyward.errors import NotFound
from comfyward.ids import hash_secret, new_id, new_secret
from comfyward.store import accounts
from comfyward.store.schema import accounts as account_rows
from comfyward.store.schema import api_keys, login_links, sessions

LASTS_MS = 30 * 24 * 3600 * 1000
LINK_LASTS_MS = 7 * 24 * 3600 * 1000
MAX_DEVICE_LENGTH = 300
MOST = 1000  # of an account


@dataclass(frozen=True)
class Session:
    """A browser that is logged in. `device` is its User-Agent."""

    id: str
    account_id: str
    api_key_id: str | None
    device: str
    created_at: int
    seen_at: int
    expires_at: int


_COLUMNS = [sessions.c[name] for name in Session.__dataclass_fields__]


def begin(conn: Connection, caller: Caller, now: int, device: str = "") -> str:
    """Starts a session and returns its token, of which only a hash is stored.

    Also deletes expired sessions, and the oldest of the account if it has too many.
    """
    conn.execute(delete(sessions).where(sessions.c.expires_at < now))
    own = sessions.c.account_id == caller.account.id
    newest_first = select(sessions.c.hash).where(own).order_by(sessions.c.created_at.desc(), sessions.c.hash)
    conn.execute(delete(sessions).where(own, sessions.c.hash.in_(newest_first.offset(MOST - 1))))
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
    """(caller, last use in ms) of a session by its token; None if it, its key or its account has ended."""
    return _caller(conn, sessions.c.hash == hash_secret(token), now)


def caller_by_id(conn: Connection, session_id: str, now: int) -> Caller | None:
    """The caller of a session by its id; None if it, its key or its account has ended."""
    found = _caller(conn, sessions.c.id == session_id, now)
    return found[0] if found else None


def _caller(conn: Connection, which: ColumnElement[bool], now: int) -> tuple[Caller, int] | None:
    key_is_good = and_(
        api_keys.c.revoked_at.is_(None), or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    )
    query = (
        select(sessions.c.account_id, sessions.c.api_key_id, sessions.c.id, sessions.c.seen_at)
        .join(account_rows, account_rows.c.id == sessions.c.account_id)
        .outerjoin(api_keys, api_keys.c.id == sessions.c.api_key_id)
        .where(which, sessions.c.expires_at > now, account_rows.c.deleted_at.is_(None))
        .where(or_(sessions.c.api_key_id.is_(None), key_is_good))
    )
    row = conn.execute(query).first()
    return (Caller(accounts.by_id(conn, row.account_id), row.api_key_id, row.id), row.seen_at) if row else None


def touch(conn: Connection, session_id: str, now: int) -> None:
    """Marks a session as used now, which extends it."""
    conn.execute(update(sessions).where(sessions.c.id == session_id).values(seen_at=now, expires_at=now + LASTS_MS))


def find(conn: Connection, account_id: str, now: int) -> list[Session]:
    """The account's sessions, most recently used first."""
    query = select(*_COLUMNS).where(sessions.c.account_id == account_id, sessions.c.expires_at > now)
    return [Session(*row) for row in conn.execute(query.order_by(sessions.c.seen_at.desc()))]


def end(conn: Connection, account_id: str, session_id: str) -> None:
    """Raises NotFound."""
    ended = conn.execute(delete(sessions).where(sessions.c.account_id == account_id, sessions.c.id == session_id))
    if ended.rowcount == 0:
        raise NotFound("There is no such session.")


def end_others(conn: Connection, account_id: str, session_id: str | None) -> None:
    """Ends every session of the account except one."""
    conn.execute(delete(sessions).where(sessions.c.account_id == account_id, sessions.c.id != (session_id or "")))


def offer_link(conn: Connection, account_id: str, now: int, lasts_ms: int) -> str:
    """Creates a one-time login token, replacing the account's earlier ones, and returns it. Only a hash is stored."""
    conn.execute(delete(login_links).where(login_links.c.account_id == account_id))
    token = new_secret()
    conn.execute(
        insert(login_links).values(
            hash=hash_secret(token), account_id=account_id, created_at=now, expires_at=now + lasts_ms
        )
    )
    return token


def link_owner(conn: Connection, token: str, now: int) -> Account:
    """The account that a one-time link logs in. Raises NotFound for a used or expired link."""
    query = select(login_links.c.account_id).where(
        login_links.c.hash == hash_secret(token), login_links.c.expires_at > now
    )
    account_id = conn.scalar(query)
    if account_id is None:
        hint = "Ask an admin for another one, or create one on the server with 'comfyward users link NAME'."
        raise NotFound("This link has been used or has expired.", hint=hint)
    return accounts.by_id(conn, account_id)


def use_link(conn: Connection, token: str, now: int) -> Account:
    """Uses up a one-time link and returns its account. Raises NotFound like `link_owner`."""
    owner = link_owner(conn, token, now)
    conn.execute(delete(login_links).where(login_links.c.hash == hash_secret(token)))
    return owner
