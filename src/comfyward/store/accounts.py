"""Operations on accounts, their keys and what they used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from comfyward.accounts.account import Account, ApiKey, Caller
from comfyward.accounts.usage import UsageRow, is_spent
from comfyward.errors import Conflict, NotFound
from comfyward.ids import KEY_PREFIX, hash_secret, new_api_key, new_id, new_secret, new_webhook_secret
from comfyward.store.schema import accounts, api_keys, secrets, usage, worker_tokens, workflows
from comfyward.store.statement import Statement

_ACCOUNT = [accounts.c[name] for name in Account.__dataclass_fields__]
_USED = ("run_id", "attempt", "account_id", "api_key_id", "workflow_id", "accelerator", "day", "gpu_ms", "credits")
_ADD_USAGE = Statement(insert(usage).values({name: bindparam(name) for name in _USED}))
_CREDIT_LIMIT = Statement(select(accounts.c.credit_limit).where(accounts.c.id == bindparam("account_id")))
_KEY = [api_keys.c[name] for name in ApiKey.__dataclass_fields__]
DEFAULT_WORKFLOW_NAME = "Default"
KEY_USE_RESOLUTION_MS = 60_000


def create(
    conn: Connection, name: str, role: Literal["admin", "member"], credit_limit: float | None, now: int
) -> Account:
    """A new account with its default workflow. Raises Conflict when the name is taken."""
    if conn.scalar(select(accounts.c.id).where(accounts.c.name == name)):
        raise Conflict(f"There is an account named '{name}' already.")
    account = Account(new_id(), name, role, credit_limit, new_webhook_secret(), now)
    conn.execute(insert(accounts).values(**account.__dict__))
    conn.execute(
        insert(workflows).values(
            id=new_id(),
            account_id=account.id,
            name=DEFAULT_WORKFLOW_NAME,
            is_default=1,
            created_at=now,
            updated_at=now,
        )
    )
    return account


def ensure_admin(conn: Connection, now: int) -> tuple[Account, bool]:
    """The first admin account, and whether it was made just now."""
    try:
        return admin(conn), False
    except NotFound:
        return create(conn, "admin", "admin", None, now), True


def admin(conn: Connection) -> Account:
    """The first admin account. Raises NotFound before the server's first start."""
    row = conn.execute(select(*_ACCOUNT).where(accounts.c.role == "admin").order_by(accounts.c.created_at)).first()
    if row is None:
        raise NotFound("There is no admin account yet.")
    return _account(row)


def by_name(conn: Connection, name: str) -> Account:
    """Raises NotFound."""
    row = conn.execute(select(*_ACCOUNT).where(accounts.c.name == name)).first()
    if row is None:
        raise NotFound(f"There is no account named '{name}'.", hint="Create it with 'comfyward users create NAME'.")
    return _account(row)


def by_id(conn: Connection, account_id: str) -> Account:
    row = conn.execute(select(*_ACCOUNT).where(accounts.c.id == account_id)).first()
    if row is None:
        raise NotFound(f"There is no account '{account_id}'.")
    return _account(row)


def find(conn: Connection) -> list[Account]:
    return [_account(row) for row in conn.execute(select(*_ACCOUNT).order_by(accounts.c.created_at))]


def set_credit_limit(conn: Connection, account_id: str, credit_limit: float | None) -> None:
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(credit_limit=credit_limit))


def create_key(conn: Connection, account_id: str, name: str, now: int, expires_at: int | None = None) -> str:
    """A new key, returned this once; only its hash is kept."""
    key = new_api_key()
    conn.execute(
        insert(api_keys).values(
            id=new_id(),
            account_id=account_id,
            name=name,
            prefix=key[: len(KEY_PREFIX) + 6],
            hash=hash_secret(key),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return key


def keys(conn: Connection, account_id: str) -> list[ApiKey]:
    query = select(*_KEY).where(api_keys.c.account_id == account_id).order_by(api_keys.c.created_at)
    return [ApiKey(**row._mapping) for row in conn.execute(query)]


def revoke_key(conn: Connection, account_id: str, key: str, now: int) -> ApiKey:
    """Revokes a key by id, name or prefix. Raises NotFound, or Conflict when several match."""
    found = [
        each for each in keys(conn, account_id) if key in (each.id, each.name, each.prefix) and each.revoked_at is None
    ]
    if not found:
        raise NotFound(f"There is no key '{key}' in use.", hint="See 'comfyward keys list'.")
    if len(found) > 1:
        raise Conflict(f"'{key}' names {len(found)} keys.", hint="Use the key's id from 'comfyward keys list'.")
    conn.execute(update(api_keys).where(api_keys.c.id == found[0].id).values(revoked_at=now))
    return found[0]


def caller(conn: Connection, key_hash: str, now: int) -> tuple[Caller, int | None] | None:
    """Who a key belongs to, and when it was last used; None for an unknown, expired or revoked one."""
    query = (
        select(*_ACCOUNT, api_keys.c.id.label("key_id"), api_keys.c.last_used_at, api_keys.c.expires_at)
        .join(accounts, accounts.c.id == api_keys.c.account_id)
        .where(api_keys.c.hash == key_hash, api_keys.c.revoked_at.is_(None))
    )
    row = conn.execute(query).first()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return Caller(_account(row), row.key_id), row.last_used_at


def touch_key(conn: Connection, key_id: str, now: int) -> None:
    conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now))


def secret(conn: Connection, name: str) -> str:
    """The installation's secret of a name, made when it is first asked for."""
    value = conn.scalar(select(secrets.c.value).where(secrets.c.name == name))
    if value is None:
        value = new_secret()
        conn.execute(insert(secrets).values(name=name, value=value))
    return str(value)


def create_worker_token(conn: Connection, name: str, now: int) -> str:
    """A token with which a worker may join, returned this once."""
    token = new_secret()
    conn.execute(insert(worker_tokens).values(hash=hash_secret(token), name=name, created_at=now))
    return token


def revoke_worker_tokens(conn: Connection, name: str, now: int) -> int:
    """Revokes the tokens of a name and returns how many there were."""
    return conn.execute(
        update(worker_tokens)
        .where(worker_tokens.c.name == name, worker_tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    ).rowcount


def is_worker_token(conn: Connection, token_hash: str) -> bool:
    query = select(worker_tokens.c.hash).where(worker_tokens.c.hash == token_hash, worker_tokens.c.revoked_at.is_(None))
    return conn.scalar(query) is not None


def add_usage(
    conn: Connection,
    *,
    run_id: str,
    attempt: int,
    account_id: str,
    api_key_id: str | None,
    workflow_id: str,
    accelerator: str,
    day: str,
    gpu_ms: int,
    credits: float,
) -> None:
    """Books the GPU time of one attempt; the primary key refuses to book it twice."""
    _ADD_USAGE(
        conn,
        run_id=run_id,
        attempt=attempt,
        account_id=account_id,
        api_key_id=api_key_id,
        workflow_id=workflow_id,
        accelerator=accelerator,
        day=day,
        gpu_ms=gpu_ms,
        credits=credits,
    )


def used_credits(conn: Connection, account_ids: Iterable[str]) -> dict[str, float]:
    """Credits used so far, by account."""
    query = (
        select(usage.c.account_id, func.sum(usage.c.credits))
        .where(usage.c.account_id.in_(list(account_ids)))
        .group_by(usage.c.account_id)
    )
    return {account_id: float(total) for account_id, total in conn.execute(query)}


def out_of_credit(conn: Connection, account_ids: Iterable[str]) -> set[str]:
    """Those of the accounts that have a credit limit and have used it up."""
    limits = {account_id: _CREDIT_LIMIT(conn, account_id=account_id).scalar() for account_id in account_ids}
    limited = {account_id: limit for account_id, limit in limits.items() if limit is not None}
    used = used_credits(conn, limited) if limited else {}
    return {account_id for account_id, limit in limited.items() if is_spent(used.get(account_id, 0.0), limit)}


UsageGroup = Literal["day", "accelerator", "workflow_id", "api_key_id"]


def usage_by(conn: Connection, account_id: str, group: UsageGroup, since: str, until: str) -> list[UsageRow]:
    """An account's usage from one day to another (both included, YYYY-MM-DD), grouped."""
    column = usage.c[group]
    query = (
        select(column, func.count(), func.sum(usage.c.gpu_ms), func.sum(usage.c.credits))
        .where(usage.c.account_id == account_id, usage.c.day >= since, usage.c.day <= until)
        .group_by(column)
        .order_by(column)
    )
    return [
        UsageRow(group or "", count, int(gpu_ms), float(credits))
        for group, count, gpu_ms, credits in conn.execute(query)
    ]


def _account(row: Row[*tuple[Any, ...]]) -> Account:
    return Account(**{name: getattr(row, name) for name in Account.__dataclass_fields__})
