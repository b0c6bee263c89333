"""The fleet, for admins: pools and their queues, workers and what they do, and who uses it all."""

from __future__ import annotations

import shlex
from typing import Any

from sqlalchemy import Connection
from starlette.responses import Response
from starlette.routing import Route

from comfyward.accounts.account import Account
from comfyward.api.whole_numbers import whole_number
from comfyward.runs.event import EventType, part_done
from comfyward.runs.run import Run
from comfyward.store import accounts, fleets, queue, sessions, tokens, workers
from comfyward.store.db import now_ms
from comfyward.store.fleets import FleetRow
from comfyward.store.workers import WorkerRow
from comfyward.web.problems import PageError
from comfyward.web.visit import Pages, Visit, text_of

LOG_TIMEOUT_S = 8.0
HOUR_MS = 3600 * 1000


def routes(pages: Pages) -> list[Route]:
    return [
        pages.get("/fleet", show),
        pages.get("/fleet/workers/{worker_id}/log", log),
        pages.post("/fleet/tokens", new_token),
        pages.post("/fleet/workers/{worker_id}/drain", drain),
        pages.post("/fleet/workers/{worker_id}/restart", restart),
        pages.post("/fleet/workers/{worker_id}/resume", resume),
        pages.get("/fleet/users", users),
        pages.post("/fleet/users", invite),
        pages.post("/fleet/users/{account_id}", change_user),
        pages.post("/fleet/users/{account_id}/link", new_link),
    ]


async def show(visit: Visit) -> Response:
    visit.admin()
    values = await _fleet_values(visit)
    return visit.page("fleet.part.html" if visit.is_partial else "fleet.html", **values, tab="workers")


async def log(visit: Visit) -> Response:
    visit.admin()
    text = await visit.context.logs.get(visit["worker_id"], LOG_TIMEOUT_S)
    if text is None:
        raise PageError("The worker did not send its log.", "It may be starting, or gone: try again.", status=404)
    return visit.page("log.part.html", text=text)


async def drain(visit: Visit) -> Response:
    """The worker finishes what it has, leaves, and stays away until it is resumed."""
    visit.admin()
    await visit.context.db.write(workers.pause, visit["worker_id"], now_ms())
    await visit.context.sessions.drain(visit["worker_id"])
    visit.context.fleet.changed()
    return visit.to("/fleet")


async def restart(visit: Visit) -> Response:
    """The worker finishes what it has and leaves; whoever started it starts it again."""
    visit.admin()
    await visit.context.sessions.drain(visit["worker_id"])
    return visit.to("/fleet")


async def new_token(visit: Visit) -> Response:
    """The one command with which another machine joins; its token is shown this once."""
    visit.admin()
    form, now = await visit.form(), now_ms()
    name, pool = text_of(form, "name", 200) or "worker", text_of(form, "pool", 60) or None
    hours = whole_number(text_of(form, "hours", 6), least=1)
    expires_at = None if hours is None else now + hours * HOUR_MS
    token = await visit.context.db.write(tokens.create, name, now, pool=pool, expires_at=expires_at)
    parts = ["comfyward worker --server", visit.context.base_url(visit.request), "--token", token]
    parts += ["--pool", shlex.quote(pool)] if pool else []
    return visit.page("fleet_token.part.html", command=" ".join(parts))


async def resume(visit: Visit) -> Response:
    visit.admin()
    await visit.context.db.write(workers.pause, visit["worker_id"], None)
    visit.context.fleet.changed()
    return visit.to("/fleet")


async def users(visit: Visit) -> Response:
    return await _users(visit)


async def invite(visit: Visit) -> Response:
    """A new account, with a one-time link to hand to its owner."""
    visit.admin()
    form = await visit.form()
    name, limit = text_of(form, "name", 200), _limit(text_of(form, "credit_limit", 30))
    if not name:
        raise PageError("A user needs a name.")
    role = "admin" if text_of(form, "role") == "admin" else "member"

    def work(conn: Connection) -> tuple[Account, str]:
        made = accounts.create(conn, name, role, limit, now_ms())  # type: ignore[arg-type]
        return made, sessions.offer_link(conn, made.id, now_ms(), sessions.LINK_LASTS_MS)

    made, token = await visit.context.db.write(work)
    return await _users(visit, made, token)


async def change_user(visit: Visit) -> Response:
    visit.admin()
    form, account_id = await visit.form(), visit["account_id"]
    limit = _limit(text_of(form, "credit_limit", 30))
    role = "admin" if text_of(form, "role") == "admin" else "member"

    def work(conn: Connection) -> None:
        accounts.by_id(conn, account_id)
        accounts.set_credit_limit(conn, account_id, limit)
        accounts.set_role(conn, account_id, role)  # type: ignore[arg-type]

    await visit.context.db.write(work)
    visit.context.auth.forget()
    return visit.to("/fleet/users")


async def new_link(visit: Visit) -> Response:
    visit.admin()
    account = await visit.context.db.lookup(accounts.by_id, visit["account_id"])
    token = await visit.context.db.write(sessions.offer_link, account.id, now_ms(), sessions.LINK_LASTS_MS)
    return await _users(visit, account, token)


async def _users(visit: Visit, invited: Account | None = None, token: str | None = None) -> Response:
    visit.admin()
    found = await visit.context.db.read(accounts.find)
    used = await visit.context.db.read(accounts.used_credits, [account.id for account in found])
    link = f"{visit.context.base_url(visit.request)}/enter/{token}" if token else None
    return visit.page("fleet_users.html", users=found, used=used, invited=invited, link=link, tab="users")


def _limit(text: str) -> float | None:
    """A credit limit as it was typed, None for none. Raises PageError."""
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = -1
    if not 0 <= limit < 1e15:
        raise PageError(f"'{text}' is not a number of credits.", hint="Leave it empty for no limit.")
    return limit


async def _fleet_values(visit: Visit) -> dict[str, Any]:
    db, now, catalog = visit.context.db, now_ms(), await visit.context.inventory.catalog_lately()
    present = await db.read(workers.find, now - workers.PRESENT_MS)
    paused = [worker for worker in await db.read(workers.paused) if worker.id not in {each.id for each in present}]
    held = {worker.id: await db.read(queue.leased_by, worker.id) for worker in present}
    return {
        "now": now,
        "pools": await visit.context.inventory.pools(),
        "slots": visit.context.fleet.slots(),
        "kept_up": visit.context.settings.local_min_workers,
        "prices": visit.context.settings.prices,
        "waiting": await db.read(queue.lengths),
        "oldest": await db.read(queue.oldest),
        "workers": [(worker, _doing(visit, worker, held[worker.id])) for worker in present],
        "paused": paused,
        "fleets": _of_fleets(await db.read(fleets.find, now - workers.PRESENT_MS)),
        "problem": visit.context.fleet.problem(),
        "failures": catalog.failures if catalog else (),
    }


def _of_fleets(found: list[FleetRow]) -> dict[str, dict[str, Any]]:
    """What fleets say of their pools, by pool: which fleet, how many workers it may have, starts, and misses."""
    return {pool: {"fleet": fleet.name, **about} for fleet in found for pool, about in fleet.pools.items()}


def _doing(visit: Visit, worker: WorkerRow, held: list[Run]) -> list[tuple[Run, float | None]]:
    """The runs that a worker has, each with how much of its graph is done (0 to 1) where that is known."""
    return [(run, _progress(visit, run)) for run in sorted(held, key=lambda run: run.assigned_at or 0)]


def _progress(visit: Visit, run: Run) -> float | None:
    for event in visit.context.hub.newest(run.id):
        if event.type is EventType.PROGRESS:
            return part_done(event)
    return None
