"""Operations on named secrets. Their values are encrypted before they come here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select, update

from comfyward.errors import Conflict, NotFound
from comfyward.runs.named_secret import HostPattern, NamedSecret
from comfyward.store.rows import text_of
from comfyward.store.schema import accounts, named_secrets
from comfyward.wording import did_you_mean

SHARED = ""  # in place of an account's id
MOST = 100

_COLUMNS = [named_secrets.c[name] for name in NamedSecret.__dataclass_fields__]


def put(conn: Connection, secret: NamedSecret) -> None:
    """Stores a secret, in place of one of the same name.

    Raises Conflict if the account has too many, and NotFound if it was erased meanwhile.
    """
    # Two that store one name at once wait for each other.
    owner = select(accounts.c.id).where(accounts.c.id == secret.account_id).with_for_update()
    if conn.execute(owner).first() is None and not secret.is_shared:
        raise NotFound("What this belongs to was deleted meanwhile.")
    conn.execute(delete(named_secrets).where(*_own(secret.account_id, secret.name)))
    names = select(named_secrets.c.name).where(named_secrets.c.account_id == secret.account_id)
    others = list(conn.scalars(names.limit(MOST)))
    for other in others:
        if other.casefold() == secret.name.casefold():
            message = f"There is a secret '{other}', whose name differs in small and capital letters only."
            raise Conflict(message, hint=f"Change '{other}', or delete it first.")
    if len(others) >= MOST:
        raise Conflict(f"There are {MOST} secrets, which is the limit.", hint="Delete some that are not needed.")
    hosts = text_of([str(pattern) for pattern in secret.hosts])
    conn.execute(insert(named_secrets).values(**{**secret.__dict__, "hosts": hosts}))


def of_account(conn: Connection, account_id: str) -> list[NamedSecret]:
    """The secrets that an account may use, its own and the shared ones, by name."""
    mine = named_secrets.c.account_id.in_((account_id, SHARED))
    found = [_secret(row) for row in conn.execute(select(*_COLUMNS).where(mine).order_by(named_secrets.c.name))]
    return sorted(found, key=lambda secret: (secret.is_shared, secret.name))


def remove(conn: Connection, account_id: str, name: str) -> None:
    """Deletes a secret of an account, or a shared one. Raises NotFound."""
    if conn.execute(delete(named_secrets).where(*_own(account_id, name))).rowcount == 0:
        known = conn.scalars(select(named_secrets.c.name).where(named_secrets.c.account_id == account_id))
        raise NotFound(f"There is no secret '{name}'.", hint=did_you_mean(name, list(known), "") or None)


def touch(conn: Connection, account_id: str, names: Collection[str], now: int) -> None:
    """Marks secrets of an account, or shared ones, as used now."""
    mine = (named_secrets.c.account_id == account_id, named_secrets.c.name.in_(list(names)))
    conn.execute(update(named_secrets).where(*mine).values(used_at=now))


def all_of_other_keys(conn: Connection, key_id: str) -> list[NamedSecret]:
    """The secrets of all accounts that were not encrypted with a key."""
    return [_secret(row) for row in conn.execute(select(*_COLUMNS).where(named_secrets.c.key_id != key_id))]


def encrypt_again(conn: Connection, before: NamedSecret, key_id: str, encrypted: str) -> bool:
    """Replaces the encrypted value of a secret. False if it was stored anew meanwhile."""
    same = (*_own(before.account_id, before.name), named_secrets.c.encrypted == before.encrypted)
    values = {"key_id": key_id, "encrypted": encrypted}
    return conn.execute(update(named_secrets).where(*same).values(**values)).rowcount == 1


def _own(account_id: str, name: str) -> tuple[Any, Any]:
    return named_secrets.c.account_id == account_id, named_secrets.c.name == name


def _secret(row: Row[*tuple[Any, ...]]) -> NamedSecret:
    secret = NamedSecret(**row._mapping)
    hosts = tuple(HostPattern.parse(text) for text in msgspec.json.decode(row.hosts))
    return replace(secret, hosts=hosts)
