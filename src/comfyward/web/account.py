"""Account settings: keys, webhooks and their deliveries, usage, password, sessions, and all of one's data."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from comfyward.accounts.password import hash_password, is_password
from comfyward.accounts.usage import UsageRow
from comfyward.api.auth import COOKIE
from comfyward.api.body import streamed
from comfyward.api.shapes import Shapes
from comfyward.api.whole_numbers import whole_number
from comfyward.errors import InvalidPassword
from comfyward.files.objects import blob_key
from comfyward.runs.files import disposition
from comfyward.store import accounts, files, runs, sessions, webhooks, workflows
from comfyward.store.accounts import UsageGroup
from comfyward.store.db import now_ms
from comfyward.store.runs import RunFilter
from comfyward.store.workflows import Search
from comfyward.web.archive import Member, whole, zip_of
from comfyward.web.problems import PageError
from comfyward.web.visit import HEADERS, Pages, Visit, text_of

DAY_MS = 24 * 3600 * 1000
MAX_DELIVERIES = 100
USAGE_DAYS = 30
PAGE = 500
GROUPS: dict[str, UsageGroup] = {"accelerator": "accelerator", "workflow": "workflow_id", "key": "api_key_id"}


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/account", keys),
        pages.post("/account/keys", create_key),
        pages.post("/account/keys/{key_id}/revoke", revoke_key),
        pages.get("/account/webhooks", deliveries),
        pages.post("/account/webhooks/rotate", rotate_secret),
        pages.post("/account/webhooks/secret", show_secret),
        pages.get("/account/webhooks/{delivery_id}", delivery),
        pages.post("/account/webhooks/{delivery_id}/resend", resend),
        pages.get("/account/usage", usage),
        pages.get("/account/usage.csv", usage_csv),
        pages.get("/account/usage.json", usage_series),
        pages.get("/account/security", security),
        pages.post("/account/password", change_password),
        pages.post("/account/sessions/end", end_other_sessions),
        pages.post("/account/sessions/{session_id}/end", end_session),
        pages.get("/account/data", data),
        pages.get("/account/export.zip", export),
        pages.post("/account/delete", delete),
    ]


async def keys(visit: Visit) -> Response:
    return await _keys(visit, None)


async def create_key(visit: Visit) -> Response:
    """The page with the new key on it, this once: a reload makes no other, and an address never holds it."""
    form, now = await visit.form(), now_ms()
    name, days = text_of(form, "name", 200), text_of(form, "days", 10)
    if not name:
        raise PageError("A key needs a name, so that you know later what it is for.")
    lasts_days = whole_number(days, least=1, most=3650)
    if days and lasts_days is None:
        raise PageError("A key can last 1 to 3650 days.")
    expires_at = None if lasts_days is None else now + lasts_days * DAY_MS
    fresh = await visit.context.db.write(accounts.create_key, visit.account.id, name, now, expires_at)
    return await _keys(visit, fresh)


async def revoke_key(visit: Visit) -> Response:
    await visit.context.db.write(accounts.revoke_key, visit.account.id, visit["key_id"], now_ms())
    visit.context.auth.forget()
    return visit.to("/account")


async def deliveries(visit: Visit) -> Response:
    return await _deliveries(visit, None)


async def show_secret(visit: Visit) -> Response:
    account = await visit.context.db.lookup(accounts.by_id, visit.account.id)
    return await _deliveries(visit, account.webhook_secret)


async def rotate_secret(visit: Visit) -> Response:
    return await _deliveries(
        visit, await visit.context.db.write(accounts.rotate_webhook_secret, visit.account.id, now_ms())
    )


async def delivery(visit: Visit) -> Response:
    """What was sent, and what the receiver said."""
    due = await visit.context.db.read(webhooks.get, visit.account.id, visit["delivery_id"], now_ms())
    shapes = Shapes(visit.context.auth, visit.context.base_url(visit.request))
    body = msgspec.json.format(shapes.run_json(due.run), indent=2).decode()
    return visit.page("delivery.part.html", delivery=due.delivery, body=body)


async def resend(visit: Visit) -> Response:
    await visit.context.webhooks.resend(visit.account.id, visit["delivery_id"])
    return visit.to("/account/webhooks")


async def usage(visit: Visit) -> Response:
    account = await visit.context.db.lookup(accounts.by_id, visit.account.id)
    used = (await visit.context.db.read(accounts.used_credits, [account.id])).get(account.id, 0.0)
    totals = {by: await _totals(visit, by) for by in GROUPS}
    return visit.page("account_usage.html", account=account, used=used, totals=totals, days=USAGE_DAYS, tab="usage")


async def usage_series(visit: Visit) -> Response:
    """Credits and GPU seconds of each of the last days, for each group: what the plots draw."""
    by = visit.asked("by", "accelerator")
    rows = await _daily(visit, by)
    first = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=USAGE_DAYS - 1)
    days = [(first + datetime.timedelta(days=number)).isoformat() for number in range(USAGE_DAYS)]
    groups = sorted({row.group for row in rows})
    values, names = {(row.day, row.group): row for row in rows}, await _names(visit, by)
    body = {
        "days": days,
        "groups": [names(group) for group in groups],
        "credits": [[_of(values, day, group, "credits") for day in days] for group in groups],
        "gpu_s": [[_of(values, day, group, "gpu_ms") / 1000 for day in days] for group in groups],
    }
    return Response(msgspec.json.encode(body), headers=HEADERS, media_type="application/json")


async def usage_csv(visit: Visit) -> Response:
    by = visit.asked("by", "accelerator")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["day", by, "runs", "gpu_seconds", "credits"])
    rows, names = await _daily(visit, by, since="2000-01-01"), await _names(visit, by)
    for row in rows:
        writer.writerow([row.day, _as_text(names(row.group)), row.runs, row.gpu_ms / 1000, round(row.credits, 4)])
    headers = {**HEADERS, "Content-Disposition": disposition("attachment", f"usage-by-{by}.csv")}
    return Response(text.getvalue(), headers=headers, media_type="text/csv")


async def security(visit: Visit) -> Response:
    return await _security(visit)


async def change_password(visit: Visit) -> Response:
    form, db = await visit.form(), visit.context.db
    known = await db.lookup(accounts.password_hash, visit.account.name)
    hashed = known[1] if known else None
    if hashed and not await asyncio.to_thread(is_password, text_of(form, "old"), hashed):
        return await _security(visit, "The present password is not right.", 403)
    try:
        fresh = await asyncio.to_thread(hash_password, text_of(form, "new"))
    except InvalidPassword as error:
        return await _security(visit, error.message, 400)
    await db.write(accounts.set_password_hash, visit.account.id, fresh)
    await db.write(sessions.end_others, visit.account.id, visit.who.session_id)
    return visit.to("/account/security?changed=1")


async def end_session(visit: Visit) -> Response:
    await visit.context.db.write(sessions.end, visit.account.id, visit["session_id"])
    return visit.to("/account/security")


async def end_other_sessions(visit: Visit) -> Response:
    await visit.context.db.write(sessions.end_others, visit.account.id, visit.who.session_id)
    return visit.to("/account/security")


async def data(visit: Visit) -> Response:
    return visit.page("account_data.html", account=visit.account, tab="data")


async def export(visit: Visit) -> Response:
    """Everything that the account has, as a ZIP: rows as JSON, uploads and outputs as files."""
    name = f"comfyward-{visit.account.name}.zip"
    headers = {**HEADERS, "Content-Disposition": disposition("attachment", name)}
    return streamed(visit.request, zip_of(_everything(visit)), headers=headers, media_type="application/zip")


async def delete(visit: Visit) -> Response:
    """Closes the account at once; maintenance erases what is left once its runs have stopped."""
    account, db = visit.account, visit.context.db
    if text_of(await visit.form(), "name") != account.name:
        raise PageError("This is not the account's name.", hint=f"Write '{account.name}' to delete it.", status=403)
    await db.write(accounts.retire, account.id, now_ms())
    visit.context.auth.forget()
    for run_id in await db.read(runs.unfinished, account.id):
        await visit.context.intake.cancel(account.id, run_id)
    answered = visit.to("/login")
    answered.delete_cookie(COOKIE, path="/")
    return answered


async def _keys(visit: Visit, fresh: str | None) -> Response:
    found = await visit.context.db.read(accounts.keys, visit.account.id)
    return visit.page("account_keys.html", keys=found, fresh=fresh, now=now_ms(), tab="keys")


async def _deliveries(visit: Visit, secret: str | None) -> Response:
    found = await visit.context.db.read(webhooks.find, visit.account.id, visit.asked("run") or None, MAX_DELIVERIES)
    account = await visit.context.db.lookup(accounts.by_id, visit.account.id)
    return visit.page("account_webhooks.html", deliveries=found, account=account, secret=secret, tab="webhooks")


async def _security(visit: Visit, problem: str | None = None, status: int = 200) -> Response:
    db, account = visit.context.db, visit.account
    known = await db.lookup(accounts.password_hash, account.name)
    return visit.page(
        "account_security.html",
        status,
        sessions=await db.read(sessions.find, account.id, now_ms()),
        present=visit.who.session_id,
        has_password=bool(known and known[1]),
        changed=bool(visit.asked("changed")),
        problem=problem,
        tab="security",
    )


async def _totals(visit: Visit, by: str) -> list[tuple[str, UsageRow]]:
    since, until = "2000-01-01", "9999-12-31"
    rows = await visit.context.db.read(accounts.usage_by, visit.account.id, GROUPS[by], since, until)
    names = await _names(visit, by)
    return [(names(row.group), row) for row in sorted(rows, key=lambda row: -row.credits)]


async def _daily(visit: Visit, by: str, since: str | None = None) -> list[accounts.DailyUsage]:
    if by not in GROUPS:
        raise PageError(f"Usage is grouped by {', '.join(GROUPS)}.")
    first = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=USAGE_DAYS - 1)
    return await visit.context.db.read(accounts.daily_usage, visit.account.id, GROUPS[by], since or first.isoformat())


async def _names(visit: Visit, by: str) -> Callable[[str], str]:
    """What a person calls a group of usage."""
    db, account = visit.context.db, visit.account
    if by == "workflow":
        named = await db.read(workflows.names, account.id)
        return lambda group: named.get(group, group)
    if by == "key":
        keys = {key.id: key.name for key in await db.read(accounts.keys, account.id)}
        return lambda group: keys.get(group, "website")
    return str


def _of(values: dict[tuple[str, str], accounts.DailyUsage], day: str, group: str, name: str) -> float:
    row = values.get((day, group))
    return float(getattr(row, name)) if row else 0.0


def _as_text(value: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value


async def _everything(visit: Visit) -> AsyncIterator[Member]:
    db, account, objects = visit.context.db, visit.account, visit.context.objects
    shapes = Shapes(visit.context.auth, visit.context.base_url(visit.request))

    def member(name: str, value: Any) -> Member:
        return name, whole(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))

    about = {"name": account.name, "role": account.role, "credit_limit": account.credit_limit}
    yield member("account.json", about)
    yield member(
        "keys.json", [{"name": key.name, "prefix": key.prefix} for key in await db.read(accounts.keys, account.id)]
    )
    found = await db.read(workflows.cards, account.id, Search(limit=100_000))
    for card in found:
        workflow = card.workflow
        editor = msgspec.Raw(workflow.editor_graph.encode()) if workflow.editor_graph else None
        yield member(f"workflows/{workflow.id}.json", {**shapes.workflow(workflow), "workflow": editor})
    before: tuple[int, str] | None = None
    while batch := await db.read(runs.find, account.id, RunFilter(before=before, limit=PAGE)):
        for run in batch:
            yield member(f"runs/{run.id}/run.json", shapes.run(run))
            for output in run.outputs:
                yield f"runs/{run.id}/{output['name']}", await objects.read(blob_key(output["digest"]))
        before = (batch[-1].created_at, batch[-1].id)
    for file in await db.read(files.find, account.id):
        yield f"files{file.path}", await objects.read(blob_key(file.digest))
    yield member("usage.json", await _daily(visit, "accelerator", since="2000-01-01"))
