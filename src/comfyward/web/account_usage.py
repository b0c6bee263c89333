"""The usage of an account: storage, totals, plots and CSV, by accelerator, workflow or API key."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

from comfyward.accounts.storage import Quota, Stored
from comfyward.accounts.usage import UsageRow
from comfyward.dispatch.quotas import Quotas
from comfyward.runs.files import disposition
from comfyward.store import accounts, workflows
from comfyward.store.accounts import DailyUsage, UsageGroup
from comfyward.store.db import Database
from comfyward.web.page import Page
from comfyward.web.page_request import HEADERS, PageRequest
from comfyward.web.problems import PageError

DAYS = 30
FIRST_DAY, LAST_DAY = "2000-01-01", "9999-12-31"
GROUPS: dict[str, UsageGroup] = {"accelerator": "accelerator", "workflow": "workflow_id", "key": "api_key_id"}


class AccountUsage:
    def __init__(self, db: Database, quotas: Quotas) -> None:
        self._db, self._quotas = db, quotas

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/account/usage", self.show, "Credit and usage"),
            Page("GET", "/account/usage.csv", self.download, "All usage by day, as CSV"),
            Page("GET", "/account/usage.json", self.series, "Usage of the last 30 days, for plots"),
        ]

    async def show(self, request: PageRequest) -> Response:
        account = await self._db.lookup(accounts.by_id, request.account.id)
        used = (await self._db.read(accounts.used_credits, [account.id])).get(account.id, 0.0)
        totals = {by: await self._totals(account.id, by) for by in GROUPS}
        shares = _shares(await self._quotas.stored(account.id), self._quotas.of(account))
        return request.render(
            "account_usage.html", account=account, used=used, totals=totals, shares=shares, days=DAYS, tab="usage"
        )

    async def series(self, request: PageRequest) -> Response:
        """Credits and GPU seconds per group, each a list with one value per day."""
        by, first = _group(request), datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=DAYS - 1)
        rows = await self._db.read(accounts.daily_usage, request.account.id, GROUPS[by], first.isoformat())
        days = [(first + datetime.timedelta(days=number)).isoformat() for number in range(DAYS)]
        groups = sorted({row.group for row in rows})
        values, name_of = {(row.day, row.group): row for row in rows}, await self._names(request.account.id, by)
        body = {
            "days": days,
            "groups": [name_of(group) for group in groups],
            "credits": [[_value(values, day, group, "credits") for day in days] for group in groups],
            "gpu_s": [[_value(values, day, group, "gpu_ms") / 1000 for day in days] for group in groups],
        }
        return Response(msgspec.json.encode(body), headers=HEADERS, media_type="application/json")

    async def download(self, request: PageRequest) -> Response:
        by, text = _group(request), io.StringIO()
        rows = await self._db.read(accounts.daily_usage, request.account.id, GROUPS[by], FIRST_DAY)
        name_of = await self._names(request.account.id, by)
        writer = csv.writer(text)
        writer.writerow(["day", by, "runs", "gpu_seconds", "credits"])
        for row in rows:
            name = _not_a_formula(name_of(row.group))
            writer.writerow([row.day, name, row.runs, row.gpu_ms / 1000, round(row.credits, 4)])
        headers = {**HEADERS, "Content-Disposition": disposition("attachment", f"usage-by-{by}.csv")}
        return Response(text.getvalue(), headers=headers, media_type="text/csv")

    async def _totals(self, account_id: str, by: str) -> list[tuple[str, UsageRow]]:
        rows = await self._db.read(accounts.usage_by, account_id, GROUPS[by], FIRST_DAY, LAST_DAY)
        name_of = await self._names(account_id, by)
        return [(name_of(row.group), row) for row in sorted(rows, key=lambda row: -row.credits)]

    async def _names(self, account_id: str, by: str) -> Callable[[str], str]:
        """A function from a group of usage to its display name."""
        match by:
            case "workflow":
                named = await self._db.read(workflows.names, account_id)
                return lambda group: named.get(group, group)
            case "key":
                keys = {key.id: key.name for key in await self._db.read(accounts.keys, account_id)}
                return lambda group: keys.get(group, "website")
            case _:
                return str


@dataclass(frozen=True)
class Share:
    """A limit of the account's storage in words, what is used of it, and the page where some can be deleted."""

    name: str
    about: str
    used: int
    most: int
    is_count: bool = False
    page: str | None = None


def _shares(stored: Stored, quota: Quota) -> list[Share]:
    about = {
        "inputs": ("Files", "Uploads and imports, and what the editor saves", "/files"),
        "models": ("Models", "Checkpoints, LoRAs and other models of yours", "/files"),
        "outputs": ("Runs", "Outputs, previews, and inputs that only runs keep", "/runs"),
        "unfinished": ("Unfinished uploads", "As announced; they expire after a day", None),
    }
    shares = [
        Share(name, what, getattr(stored, key), getattr(quota, key), page=page)
        for key, (name, what, page) in about.items()
    ]
    count = Share("Number of unfinished uploads", "", stored.uploads, quota.uploads, is_count=True)
    return [share for share in (*shares, count) if share.page or share.used]


def _group(request: PageRequest) -> str:
    by = request.query("by", "accelerator")
    if by not in GROUPS:
        raise PageError(f"Usage can be grouped by {', '.join(GROUPS)}.")
    return by


def _value(values: dict[tuple[str, str], DailyUsage], day: str, group: str, name: str) -> float:
    row = values.get((day, group))
    return float(getattr(row, name)) if row else 0.0


def _not_a_formula(value: str) -> str:
    """A cell that no spreadsheet evaluates."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
