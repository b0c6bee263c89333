"""Who owns keys, workflows, runs, files and usage."""

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
    former_webhook_secret: str | None = None  # signs beside the present one for a while after a rotation
    former_webhook_secret_until: int | None = None
    weight: float = 1.0  # its share of a pool beside other accounts'
    max_running: int | None = None  # how many runs of it workers may have at once
    max_running_by_pool: str = "{}"  # the same for single pools, as JSON

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


@dataclass(frozen=True)
class ApiKey:
    """A key as it may be shown: its hash never leaves the store."""

    id: str
    account_id: str
    name: str
    prefix: str
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    revoked_at: int | None
    max_running: int | None = None  # how many runs made with it workers may have at once


@dataclass(frozen=True)
class Caller:
    """The account behind a request, and the key or the browser's session that it used."""

    account: Account
    api_key_id: str | None
    session_id: str | None = None
