"""The caller's account and its usage, through v1."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from comfyward.accounts.storage import LIMITS, Quota, Stored
from comfyward.api.auth import Auth
from comfyward.api.body import answer
from comfyward.api.endpoint import Endpoint, Models
from comfyward.api.query import read_query
from comfyward.api.times import iso
from comfyward.api.v1 import answers
from comfyward.dispatch.quotas import Quotas
from comfyward.store import accounts
from comfyward.store.db import Database

DEFAULT_USAGE_DAYS = 30
GROUPS: dict[str, accounts.UsageGroup] = {
    "day": "day",
    "accelerator": "accelerator",
    "workflow": "workflow_id",
    "key": "api_key_id",
}


class UsageQuery(BaseModel):
    by: Literal["day", "accelerator", "workflow", "key"] = "day"
    since: datetime.date | None = Field(None, description=f"First day; default {DEFAULT_USAGE_DAYS} days ago.")
    until: datetime.date | None = Field(None, description="Last day; default today (UTC).")

    def days(self) -> tuple[str, str]:
        """(first day, last day)."""
        today = datetime.datetime.now(datetime.UTC).date()
        since = self.since or today - datetime.timedelta(days=DEFAULT_USAGE_DAYS)
        return since.isoformat(), (self.until or today).isoformat()


class Account:
    def __init__(self, auth: Auth, db: Database, quotas: Quotas) -> None:
        self._auth, self._db, self._quotas = auth, db, quotas

    def endpoints(self) -> list[Endpoint]:
        usage = Models(query=UsageQuery, answer=answers.Usage)
        return [
            Endpoint("GET", "/me", self.me, "The account behind the key", Models(answer=answers.Account)),
            Endpoint("GET", "/usage", self.usage, "GPU time and credits used", usage),
        ]

    async def me(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        account = await self._db.lookup(accounts.by_id, caller.account.id)
        used = await self._db.read(accounts.used_credits, [account.id])
        stored, quota = await self._quotas.stored(account.id), self._quotas.of(account)
        return answer(
            {
                "id": account.id,
                "name": account.name,
                "role": account.role,
                "api_key_id": caller.api_key_id,
                "credit_limit": account.credit_limit,
                "credits_used": used.get(account.id, 0.0),
                "storage": storage_shape(stored, quota),
                "created_at": iso(account.created_at),
            }
        )

    async def usage(self, request: Request) -> Response:
        caller = await self._auth.caller(request)
        query = read_query(request, UsageQuery)
        since, until = query.days()
        found = await self._db.read(accounts.usage_by, caller.account.id, GROUPS[query.by], since, until)
        rows = [{query.by: row.group, "runs": row.runs, "gpu_ms": row.gpu_ms, "credits": row.credits} for row in found]
        total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in ("runs", "gpu_ms", "credits")}
        return answer({"since": since, "until": until, "by": query.by, "rows": rows, "total": total})


def storage_shape(stored: Stored, quota: Quota) -> dict[str, dict[str, int | None]]:
    """The use of an account's storage, and its limits (null: none)."""
    return {name: {"used": getattr(stored, name), "limit": getattr(quota, name) or None} for name in LIMITS}
