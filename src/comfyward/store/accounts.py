"""Operations on accounts, their keys and their usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from comfyward.accounts.account import Account, ApiKey, Caller
from comfyward.accounts.usage import UsageRow, is_spent
from comfyward.errors import Conflict, NotFound
from comfyward.ids import KEY_PREFIX, hash_secret, new_api_key, new_id, new_secret, new_webhook_secret
from comfyward.store import row_limits
from comfyward.store.rows import text_of
from comfyward.store.schema import (
    accounts,
    api_keys,
    blob_uses,
    deleted_models,
    editor_settings,
    environment_rehearsals,
    events,
    files,
    imports,
    links,
    login_links,
    model_pins,
    model_uses,
    named_secrets,
    pack_requests,
    runs,
    secrets,
    sessions,
    uploads,
    usage,
    webhook_deliveries,
    workflow_models,
    workflows,
)
from comfyward.store.statement import Insertion, Statement
from comfyward.wording import did_you_mean

_ACCOUNT = [accounts.c[name] for name in Account.__dataclass_fields__]
_USED = ("run_id", "attempt", "account_id", "api_key_id", "workflow_id", "accelerator", "day", "gpu_ms", "credits")
_ADD_USAGE = Insertion(usage, _USED)
_CREDIT_LIMIT = Statement(select(accounts.c.credit_limit).where(accounts.c.id == bindparam("account_id")))
_KEY = [api_keys.c[name] for name in ApiKey.__dataclass_fields__]
DEFAULT_WORKFLOW_NAME = "Default"
KEY_USE_RESOLUTION_MS = 60_000
UsageGroup = Literal["day", "accelerator", "workflow_id", "api_key_id"]
FORMER_SECRET_LASTS_MS = 24 * 3600 * 1000


def create(
    conn: Connection, name: str, role: Literal["admin", "member"], credit_limit: float | None, now: int
) -> Account:
    """Creates an account and its default workflow. Raises Conflict if the name is taken."""
    if conn.scalar(select(accounts.c.id).where(accounts.c.name == name)):
        raise Conflict(f"An account named '{name}' already exists.")
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
    """The first admin account, and True if it was created by this call."""
    try:
        return admin(conn), False
    except NotFound:
        return create(conn, "admin", "admin", None, now), True


def admin(conn: Connection) -> Account:
    """The oldest admin account. Raises NotFound before the server's first start."""
    query = select(*_ACCOUNT).where(accounts.c.role == "admin", accounts.c.deleted_at.is_(None))
    row = conn.execute(query.order_by(accounts.c.created_at)).first()
    if row is None:
        raise NotFound("There is no admin account yet.")
    return _account(row)


def by_name(conn: Connection, name: str) -> Account:
    """Raises NotFound."""
    row = conn.execute(select(*_ACCOUNT).where(accounts.c.name == name, accounts.c.deleted_at.is_(None))).first()
    if row is None:
        hint = did_you_mean(name, [each.name for each in find(conn)], "Create it with 'comfyward users create NAME'.")
        raise NotFound(f"There is no account named '{name}'.", hint=hint)
    return _account(row)


def by_id(conn: Connection, account_id: str) -> Account:
    row = conn.execute(select(*_ACCOUNT).where(accounts.c.id == account_id)).first()
    if row is None:
        raise NotFound(f"There is no account '{account_id}'.")
    return _account(row)


def by_identity(conn: Connection, identity: str) -> Account:
    """The account linked to an identity provider's user. Raises NotFound."""
    query = select(*_ACCOUNT).where(accounts.c.identity == identity, accounts.c.deleted_at.is_(None))
    row = conn.execute(query).first()
    if row is None:
        raise NotFound("No account is linked to this identity.")
    return _account(row)


def find(conn: Connection) -> list[Account]:
    query = select(*_ACCOUNT).where(accounts.c.deleted_at.is_(None)).order_by(accounts.c.created_at)
    return [_account(row) for row in conn.execute(query)]


def password_hash(conn: Connection, name: str) -> tuple[str, str | None] | None:
    """(account id, password hash) by name, or None if there is no such account."""
    query = select(accounts.c.id, accounts.c.password_hash)
    row = conn.execute(query.where(accounts.c.name == name, accounts.c.deleted_at.is_(None))).first()
    return (row[0], row[1]) if row else None


def set_password_hash(conn: Connection, account_id: str, hashed: str) -> None:
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(password_hash=hashed))


def set_identity(conn: Connection, account_id: str, identity: str) -> None:
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(identity=identity))


def set_role(conn: Connection, account_id: str, role: Literal["admin", "member"]) -> None:
    """Raises Conflict for the last admin."""
    if role != "admin":
        _refuse_last_admin(conn, account_id)
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(role=role))


def rotate_webhook_secret(conn: Connection, account_id: str, now: int) -> str:
    """Creates a signing secret. The previous one stays valid for a day, so receivers can switch over."""
    account, fresh = by_id(conn, account_id), new_webhook_secret()
    conn.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(
            webhook_secret=fresh,
            former_webhook_secret=account.webhook_secret,
            former_webhook_secret_until=now + FORMER_SECRET_LASTS_MS,
        )
    )
    return fresh


def retire(conn: Connection, account_id: str, now: int) -> None:
    """Closes an account: all access ends now, and maintenance erases it once its runs have finished.

    Raises Conflict for the last admin.
    """
    _refuse_last_admin(conn, account_id)
    own = accounts.c.id == account_id
    conn.execute(update(accounts).where(own).values(deleted_at=now, name=f"deleted {account_id}", identity=None))
    for table in (sessions, login_links):
        conn.execute(delete(table).where(table.c.account_id == account_id))


def retired(conn: Connection) -> list[str]:
    """The ids of closed accounts with no unfinished runs."""
    unfinished = select(runs.c.id).where(runs.c.account_id == accounts.c.id, runs.c.finished_at.is_(None)).exists()
    return list(conn.scalars(select(accounts.c.id).where(accounts.c.deleted_at.is_not(None), ~unfinished)))


def erase(conn: Connection, account_id: str) -> None:
    """Deletes an account and everything it owns; the next sweep removes blobs that nobody else uses."""
    # From here on another server's transaction that writes a row of the account waits, and then finds no account.
    conn.execute(select(accounts.c.id).where(accounts.c.id == account_id).with_for_update())
    own_runs = select(runs.c.id).where(runs.c.account_id == account_id)
    for of_runs in (events, blob_uses):
        conn.execute(delete(of_runs).where(of_runs.c.run_id.in_(own_runs)))
    of_account = (files, links, imports, uploads, usage, webhook_deliveries, editor_settings, sessions, login_links)
    of_models = (model_pins, model_uses, workflow_models, deleted_models)
    of_environments = (pack_requests, environment_rehearsals)
    for table in (*of_account, *of_models, *of_environments, named_secrets, runs, workflows, api_keys):
        conn.execute(delete(table).where(table.c.account_id == account_id))
    conn.execute(delete(accounts).where(accounts.c.id == account_id))


def _refuse_last_admin(conn: Connection, account_id: str) -> None:
    admins = [account.id for account in find(conn) if account.is_admin]
    if admins == [account_id]:
        raise Conflict("This is the last admin.", hint="Make another account an admin first.")


def set_credit_limit(conn: Connection, account_id: str, credit_limit: float | None) -> None:
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(credit_limit=credit_limit))


def set_share(
    conn: Connection, account_id: str, weight: float, max_running: int | None, by_pool: Mapping[str, int]
) -> None:
    """Sets an account's weight among others in each pool, and its limits of concurrent runs (in total, by pool)."""
    values = {"weight": weight, "max_running": max_running, "max_running_by_pool": text_of(dict(by_pool))}
    conn.execute(update(accounts).where(accounts.c.id == account_id).values(**values))


def create_key(
    conn: Connection,
    account_id: str,
    name: str,
    now: int,
    expires_at: int | None = None,
    max_running: int | None = None,
) -> str:
    """Creates a key and returns it; only its hash is stored. `max_running` limits its concurrent runs.

    Raises Conflict if the account has too many in use.
    """
    in_use = (api_keys.c.account_id == account_id, api_keys.c.revoked_at.is_(None))
    row_limits.check(conn, api_keys, row_limits.KEYS, "API keys in use", "Revoke some that you do not need.", *in_use)
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
            max_running=max_running,
        )
    )
    return key


def keys(conn: Connection, account_id: str) -> list[ApiKey]:
    query = select(*_KEY).where(api_keys.c.account_id == account_id).order_by(api_keys.c.created_at)
    return [ApiKey(**row._mapping) for row in conn.execute(query)]


def revoke_key(conn: Connection, account_id: str, key: str, now: int) -> ApiKey:
    """Revokes a key by id, name or prefix. Raises NotFound, or Conflict if several match."""
    in_use = [each for each in keys(conn, account_id) if each.revoked_at is None]
    found = [each for each in in_use if key in (each.id, each.name, each.prefix)]
    if not found:
        names = [name for each in in_use for name in (each.name, each.id, each.prefix)]
        hint = did_you_mean(key, names, "See 'comfyward keys list'.")
        raise NotFound(f"There is no key '{key}' in use.", hint=hint)
    if len(found) > 1:
        raise Conflict(f"'{key}' names {len(found)} keys.", hint="Use the key's id from 'comfyward keys list'.")
    conn.execute(update(api_keys).where(api_keys.c.id == found[0].id).values(revoked_at=now))
    _forget_old_keys(conn, account_id)
    return found[0]


def _forget_old_keys(conn: Connection, account_id: str) -> None:
    """Forgets an account's revoked keys but the newest, and the sessions that they opened: without its key one would be
    good again."""
    own = (api_keys.c.account_id == account_id, api_keys.c.revoked_at.is_not(None))
    newest_first = select(api_keys.c.id).where(*own).order_by(api_keys.c.revoked_at.desc(), api_keys.c.id)
    old = newest_first.offset(row_limits.REVOKED_KEYS)
    conn.execute(delete(sessions).where(sessions.c.account_id == account_id, sessions.c.api_key_id.in_(old)))
    conn.execute(delete(api_keys).where(api_keys.c.id.in_(old)))


def caller(conn: Connection, key_hash: str, now: int) -> tuple[Caller, int | None] | None:
    """(caller, last use in ms) of a key by its hash; None if it or its account has ended."""
    query = (
        select(*_ACCOUNT, api_keys.c.id.label("key_id"), api_keys.c.last_used_at, api_keys.c.expires_at)
        .join(accounts, accounts.c.id == api_keys.c.account_id)
        .where(api_keys.c.hash == key_hash, api_keys.c.revoked_at.is_(None), accounts.c.deleted_at.is_(None))
    )
    row = conn.execute(query).first()
    if row is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    return Caller(_account(row), row.key_id), row.last_used_at


def touch_key(conn: Connection, key_id: str, now: int) -> None:
    conn.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=now))


def secret(conn: Connection, name: str) -> str:
    """The installation's secret of this name, created on first use."""
    value = conn.scalar(select(secrets.c.value).where(secrets.c.name == name))
    if value is None:
        value = new_secret()
        conn.execute(insert(secrets).values(name=name, value=value))
    return str(value)


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
    """Records the GPU time of one attempt. The primary key refuses to record it twice."""
    values = {
        "run_id": run_id,
        "attempt": attempt,
        "account_id": account_id,
        "api_key_id": api_key_id,
        "workflow_id": workflow_id,
        "accelerator": accelerator,
        "day": day,
        "gpu_ms": gpu_ms,
        "credits": credits,
    }
    _ADD_USAGE.defer(conn, [values])


def used_credits(conn: Connection, account_ids: Iterable[str]) -> dict[str, float]:
    """Credits used so far, by account id."""
    query = (
        select(usage.c.account_id, func.sum(usage.c.credits))
        .where(usage.c.account_id.in_(list(account_ids)))
        .group_by(usage.c.account_id)
    )
    return {account_id: float(total) for account_id, total in conn.execute(query)}


def out_of_credit(conn: Connection, account_ids: Iterable[str]) -> set[str]:
    """The ids of those accounts that have used up their credit limit."""
    limits = {account_id: _CREDIT_LIMIT(conn, account_id=account_id).scalar() for account_id in account_ids}
    limited = {account_id: limit for account_id, limit in limits.items() if limit is not None}
    used = used_credits(conn, limited) if limited else {}
    return {account_id for account_id, limit in limited.items() if is_spent(used.get(account_id, 0.0), limit)}


@dataclass(frozen=True)
class DailyUsage:
    """Usage of one group on one day (YYYY-MM-DD)."""

    day: str
    group: str
    runs: int
    gpu_ms: int
    credits: float


def daily_usage(conn: Connection, account_id: str, group: UsageGroup, since: str) -> list[DailyUsage]:
    """An account's usage since a day, by day and group."""
    column = usage.c[group]
    query = (
        select(usage.c.day, column, func.count(), func.sum(usage.c.gpu_ms), func.sum(usage.c.credits))
        .where(usage.c.account_id == account_id, usage.c.day >= since)
        .group_by(usage.c.day, column)
        .order_by(usage.c.day, column)
    )
    return [
        DailyUsage(day, of or "", count, int(gpu_ms), float(credits))
        for day, of, count, gpu_ms, credits in conn.execute(query)
    ]


def cost_of(conn: Connection, account_id: str, run_id: str) -> float | None:
    """The credits charged for a run of the account; None if nothing was."""
    query = select(func.sum(usage.c.credits)).where(usage.c.run_id == run_id, usage.c.account_id == account_id)
    cost = conn.scalar(query)
    return None if cost is None else float(cost)


def usage_by(conn: Connection, account_id: str, group: UsageGroup, since: str, until: str) -> list[UsageRow]:
    """An account's usage between two days (inclusive, YYYY-MM-DD), by group."""
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
