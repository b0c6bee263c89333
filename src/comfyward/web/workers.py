"""Actions on workers, and the tokens that let machines join, for admins."""

from __future__ import annotations

import shlex

from starlette.responses import Response

from comfyward.api.whole_numbers import whole_number
from comfyward.dispatch.worker_logs import WorkerLogs
from comfyward.dispatch.worker_sessions import WorkerSessions
from comfyward.fleet.fleet import OwnFleet
from comfyward.store import tokens, workers
from comfyward.store.db import Database, now_ms
from comfyward.web.page import Access, Page
from comfyward.web.page_request import PageRequest, text_of
from comfyward.web.problems import PageError

LOG_TIMEOUT_S = 8.0
HOUR_MS = 3600 * 1000


class Workers:
    def __init__(self, db: Database, sessions: WorkerSessions, logs: WorkerLogs, fleet: OwnFleet) -> None:
        self._db, self._sessions, self._logs, self._fleet = db, sessions, logs, fleet

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/fleet/workers/{worker_id}/log", self.show_log, "The log of a worker", Access.ADMINS),
            Page("POST", "/fleet/tokens", self.create_token, "The command to join with", Access.ADMINS),
            Page("POST", "/fleet/workers/{worker_id}/drain", self.drain, "Drain a worker", Access.ADMINS),
            Page("POST", "/fleet/workers/{worker_id}/restart", self.restart, "Restart a worker", Access.ADMINS),
            Page("POST", "/fleet/workers/{worker_id}/resume", self.resume, "Resume a drained worker", Access.ADMINS),
        ]

    async def show_log(self, request: PageRequest) -> Response:
        text = await self._logs.get(request["worker_id"], LOG_TIMEOUT_S)
        if text is None:
            raise PageError("The worker did not send its log.", "It may be starting or offline. Try again.", status=404)
        return request.render("log.part.html", text=text)

    async def create_token(self, request: PageRequest) -> Response:
        """Renders the command for another machine, with its token, this once."""
        form, now = await request.form(), now_ms()
        name, pool = text_of(form, "name", 200) or "worker", text_of(form, "pool", 60) or None
        typed = text_of(form, "hours", 6)
        hours = whole_number(typed, least=1)
        if typed and hours is None:
            raise PageError(f"'{typed}' is not a number of hours.", "Leave it empty for a token that does not expire.")
        expires_at = None if hours is None else now + hours * HOUR_MS
        token = await self._db.write(tokens.create, name, now, pool=pool, expires_at=expires_at)
        parts = ["comfyward worker --server", request.base_url, "--token", token]
        parts += ["--pool", shlex.quote(pool)] if pool else []
        return request.render("fleet_token.part.html", command=" ".join(parts))

    async def drain(self, request: PageRequest) -> Response:
        """The worker finishes its runs, leaves, and stays away until it is resumed."""
        await self._db.write(workers.pause, request["worker_id"], now_ms())
        await self._sessions.drain(request["worker_id"])
        self._fleet.changed()
        return request.redirect("/fleet")

    async def restart(self, request: PageRequest) -> Response:
        """The worker finishes its runs and leaves; its fleet or supervisor starts it again."""
        await self._sessions.drain(request["worker_id"])
        return request.redirect("/fleet")

    async def resume(self, request: PageRequest) -> Response:
        await self._db.write(workers.pause, request["worker_id"], None)
        self._fleet.changed()
        return request.redirect("/fleet")
