"""Refusals of hosts, as workers report them, with advice: which token is missing, where a licence is accepted."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection

from comfyward.dispatch.named_secrets import NamedSecrets
from comfyward.errors import FetchFailed
from comfyward.files.refusal import wants_more
from comfyward.runs.files import Url, source_from_row
from comfyward.runs.run import EndReason, Run
from comfyward.store import leases
from comfyward.store.db import Database
from comfyward.worker.protocol import Ended, Numbered


class Refusals:
    def __init__(self, db: Database, secrets: NamedSecrets) -> None:
        self._db, self._secrets = db, secrets

    async def explained(self, lease: str, report: Numbered) -> Numbered:
        """A report; with advice as its hint, if it ends a run because a host refused a file to its account."""
        if not isinstance(report, Ended) or report.reason is not EndReason.DOWNLOAD or report.failure is None:
            return report
        details = report.failure.details or {}
        if not wants_more(FetchFailed("", **_plain(details))) or (run := await self._run(lease)) is None:
            return report
        source = source_from_row(run.files.get(str(details.get("path"))) or {"blob": "", "size": 0})
        if not isinstance(source, Url):
            return report
        advice = await self._secrets.advice(run.account_id, source, details)
        more = {name: each for name, each in (("secret", advice.secret), ("page", advice.page)) if each}
        failure = msgspec.structs.replace(report.failure, hint=advice.hint, details={**details, **more})
        return msgspec.structs.replace(report, failure=failure)

    async def _run(self, lease: str) -> Run | None:
        return await self._db.lookup(_run_under, lease)


def _plain(details: dict[str, Any]) -> dict[str, Any]:
    return {name: details[name] for name in ("http_status", "web_page") if name in details}


def _run_under(conn: Connection, lease: str) -> Run | None:
    found = leases.leased(conn, lease)
    return found[0] if found else None
