"""The data of an account: export as a ZIP, and deletion of the account."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.responses import Response

from comfyward.accounts.account import Account
from comfyward.api.auth import COOKIE, Auth
from comfyward.api.body import streamed
from comfyward.api.v1.shapes import Shapes
from comfyward.dispatch.intake import Intake
from comfyward.files.objects import Objects, blob_key
from comfyward.runs.files import disposition
from comfyward.store import accounts, files, runs, workflows
from comfyward.store.db import Database, now_ms
from comfyward.store.runs import RunFilter
from comfyward.web.account_usage import FIRST_DAY
from comfyward.web.archive import Member, whole, zip_of
from comfyward.web.page import Page
from comfyward.web.page_request import HEADERS, PageRequest, text_of
from comfyward.web.problems import PageError

BATCH = 500


class AccountData:
    def __init__(self, db: Database, auth: Auth, intake: Intake, objects: Objects) -> None:
        self._db, self._auth, self._intake, self._objects = db, auth, intake, objects

    def pages(self) -> list[Page]:
        return [
            Page("GET", "/account/data", self.show, "Export and deletion"),
            Page("GET", "/account/export.zip", self.export, "Everything that belongs to the account"),
            Page("POST", "/account/delete", self.delete, "Delete the account"),
        ]

    async def show(self, request: PageRequest) -> Response:
        return request.render("account_data.html", account=request.account, tab="data")

    async def export(self, request: PageRequest) -> Response:
        """Rows as JSON, files and outputs as they are."""
        name = f"comfyward-{request.account.name}.zip"
        headers = {**HEADERS, "Content-Disposition": disposition("attachment", name)}
        members = self._members(request.account, Shapes(self._auth, lambda: request.base_url))
        return streamed(request.http, zip_of(members), headers=headers, media_type="application/zip")

    async def delete(self, request: PageRequest) -> Response:
        """Retires the account at once; maintenance erases its data once its runs have stopped."""
        account = request.account
        if text_of(await request.form(), "name") != account.name:
            raise PageError(
                "The name does not match.", hint=f"Enter '{account.name}' to delete the account.", status=403
            )
        await self._db.write(accounts.retire, account.id, now_ms())
        self._auth.forget(account.id)
        for run_id in await self._db.read(runs.unfinished, account.id):
            await self._intake.cancel(account.id, run_id)
        response = request.redirect("/login")
        response.delete_cookie(COOKIE, path="/")
        return response

    async def _members(self, account: Account, shapes: Shapes) -> AsyncIterator[Member]:
        db = self._db
        about = {"name": account.name, "role": account.role, "credit_limit": account.credit_limit}
        yield _json("account.json", about)
        keys = await db.read(accounts.keys, account.id)
        yield _json("keys.json", [{"name": key.name, "prefix": key.prefix} for key in keys])
        async for member in self._workflows(account, shapes):
            yield member
        async for member in self._runs(account, shapes):
            yield member
        for file in await db.read(files.find, account.id):
            yield f"files{file.path}", await self._objects.read(blob_key(file.digest))
        yield _json("usage.json", await db.read(accounts.daily_usage, account.id, "accelerator", FIRST_DAY))

    async def _workflows(self, account: Account, shapes: Shapes) -> AsyncIterator[Member]:
        before: tuple[int, str] | None = None
        while batch := (await self._db.read(workflows.listed, account.id, before, BATCH)).rows:
            for workflow in batch:
                yield _json(f"workflows/{workflow.id}.json", shapes.whole_workflow(workflow))
            before = (batch[-1].created_at, batch[-1].id)

    async def _runs(self, account: Account, shapes: Shapes) -> AsyncIterator[Member]:
        before: tuple[int, str] | None = None
        while batch := await self._db.read(runs.find, account.id, RunFilter(before=before, limit=BATCH)):
            for run in batch:
                yield _json(f"runs/{run.id}/run.json", shapes.run(run))
                for output in run.outputs:
                    yield f"runs/{run.id}/{output.name}", await self._objects.read(blob_key(output.digest))
            before = (batch[-1].created_at, batch[-1].id)


def _json(name: str, value: Any) -> Member:
    return name, whole(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2))
