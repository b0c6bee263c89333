"""Accounts: the owners of keys, workflows, runs, files and usage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    id: str
    name: str
    role: str  # "admin" | "member"
    credit_limit: float | None
    webhook_secret: str
    created_at: int
    former_webhook_secret: str | None = None  # signs beside the current one for a while after a rotation
    former_webhook_secret_until: int | None = None
    weight: float = 1.0  # its share of a pool, relative to other accounts
    max_running: int | None = None  # limit of concurrent runs
    max_running_by_pool: str = "{}"  # limits by pool, as JSON
    storage_limits: str = "{}"  # its own, as JSON: those that are not the server's

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret, of which the store keeps only a hash."""

    id: str
    account_id: str
    name: str
    prefix: str
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    revoked_at: int | None
    max_running: int | None = None  # limit of concurrent runs made with this key


@dataclass(frozen=True)
class Caller:
    """The account behind a request, and the key or browser session that it used."""

    account: Account
    api_key_id: str | None
    session_id: str | None = None
